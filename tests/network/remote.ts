/** A library on a real server, S3 or SFTP: what most network tests are run on twice. */

import { run } from "../support/process.ts";
import type { Need } from "../support/requirements.ts";
import { type Minio, type MinioOptions, startMinio } from "../support/servers/minio.ts";
import { type Sshd, type SshdOptions, startSshd } from "../support/servers/sshd.ts";

export type RemoteKind = "s3" | "sftp";

export const REMOTE_KINDS: readonly RemoteKind[] = ["s3", "sftp"];

/** What a test needs that mounts a remote of each kind. */
export const REMOTE_NEEDS: Readonly<Record<RemoteKind, readonly Need[]>> = {
  s3: ["minio", "fuse", "fusermount3", "diff"],
  sftp: ["sshd", "ssh-keygen", "fuse", "fusermount3", "diff"],
};

/** A server that holds a folder's files. */
export interface Remote extends AsyncDisposable {
  readonly kind: RemoteKind;
  readonly port: number;
  /** For the daemon: credentials. */
  readonly env: Record<string, string>;
  /** What must appear in no log. */
  readonly secrets: readonly string[];
  /** The origin's URL; `port` if the way goes through a link or a proxy. */
  url(port?: number): string;
  stop(): Promise<void>;
  kill(): Promise<void>;
  start(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

/** Serves the files of `folder`: SFTP the folder itself, S3 a copy of its regular files. */
export async function startRemote(kind: RemoteKind, folder: string): Promise<Remote> {
  return kind === "s3" ? await startBucket(folder) : await startFolder(folder);
}

/** A MinIO with the files of `folder` in the bucket "music". */
export async function startBucket(folder: string, options: MinioOptions = {}): Promise<Bucket> {
  const minio = await startMinio({ ...options, buckets: ["music"] });
  try {
    await minio.putFolder("music", folder);
    return new Bucket(minio);
  } catch (error) {
    await minio[Symbol.asyncDispose]();
    throw error;
  }
}

/** An sshd that serves `folder`. */
export async function startFolder(folder: string, options: SshdOptions = {}): Promise<Folder> {
  return new Folder(await startSshd(options), folder);
}

class Bucket implements Remote {
  readonly kind = "s3";

  constructor(readonly minio: Minio) {}

  get port(): number {
    return this.minio.port;
  }

  get env(): Record<string, string> {
    return this.minio.env;
  }

  get secrets(): readonly string[] {
    return [this.minio.secretKey];
  }

  url(port = this.port): string {
    return this.minio.url("music", { endpoint: `http://127.0.0.1:${port}` });
  }

  async stop(): Promise<void> {
    await this.minio.stop();
  }

  async kill(): Promise<void> {
    await this.minio.kill();
  }

  async start(): Promise<void> {
    await this.minio.start();
  }

  freeze(): void {
    this.minio.freeze();
  }

  thaw(): void {
    this.minio.thaw();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.minio[Symbol.asyncDispose]();
  }
}

class Folder implements Remote {
  readonly kind = "sftp";
  readonly env = {};
  readonly secrets = [];

  constructor(readonly sshd: Sshd, readonly folder: string) {}

  get port(): number {
    return this.sshd.port;
  }

  url(port = this.port): string {
    return this.sshd.url(this.folder, { port });
  }

  async stop(): Promise<void> {
    await this.sshd.stop();
  }

  async kill(): Promise<void> {
    await this.sshd.kill();
  }

  async start(): Promise<void> {
    await this.sshd.start();
  }

  freeze(): void {
    this.sshd.freeze();
  }

  thaw(): void {
    this.sshd.thaw();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sshd[Symbol.asyncDispose]();
  }
}

export type { Bucket, Folder };

/** What came of reading a file to its end, compared with a copy. */
export interface Reading {
  /** 0: every byte is the copy's; 1: one is not; 2: it could not be read. */
  code: number;
  stderr: string;
  ms: number;
}

/** Reads a file through the mount, in a process of its own, and compares it with its copy. */
export async function readBeside(file: string, copy: string, limitMs = 120_000): Promise<Reading> {
  const start = performance.now();
  const { code, stderr } = await run("cmp", [file, copy], { limitMs });
  return { code, stderr, ms: performance.now() - start };
}
