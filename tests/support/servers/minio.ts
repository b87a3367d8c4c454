/** A real S3 server: MinIO, one process, one folder. */

import { join } from "node:path";
import { type TempDir, tempDir } from "../temp_dir.ts";
import { ComposeService, MINIO_URL, namedServer, type RunningServer } from "./compose.ts";
import { accepts, freePort } from "./free_port.ts";
import { MINIO, required } from "./programs.ts";
import { ServerProcess } from "./server_process.ts";
import { type Credentials, type S3Request, sign } from "./signed_requests.ts";

/** Links to one file; ext4 allows 65,000. */
const LINKS_MAX = 60_000;

/** Puts in flight at once; more do not make MinIO faster on two cores. */
const PUTS_MAX = 32;

export interface MinioOptions {
  /** Made at the start. */
  buckets?: readonly string[];
  /** Folder of the data, kept afterwards; default a fresh one that is removed. */
  dir?: string;
  port?: number;
  /** Given as certificate and key, the server speaks https. */
  tls?: { certificate: string; key: string };
}

/** Starts MinIO on a free loopback port and waits until it answers. */
export async function startMinio(options: MinioOptions = {}): Promise<Minio> {
  const dir = await tempDir("minio");
  try {
    return await Minio.start(dir, options);
  } catch (error) {
    await dir[Symbol.asyncDispose]();
    throw error;
  }
}

/** A running MinIO; ends with its scope. */
export class Minio implements AsyncDisposable {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region = "us-east-1";
  readonly port: number;
  readonly endpoint: string;
  readonly #dir: TempDir;
  readonly #isTls: boolean;
  /** Folder of the data. */
  readonly #data: string;
  #running: RunningServer | undefined;

  private constructor(dir: TempDir, options: MinioOptions) {
    this.#dir = dir;
    this.#isTls = options.tls !== undefined;
    this.#data = options.dir ?? join(dir.path, "data");
    // What must be the test's own is not what somebody else has started.
    const isOwn = this.#isTls || options.dir !== undefined || options.port !== undefined;
    const named = isOwn ? undefined : namedServer(MINIO_URL);
    this.accessKey = named?.username ?? "musicfs-test";
    this.secretKey = named?.password ?? `secret-${crypto.randomUUID()}`;
    this.port = named ? Number(named.port) : options.port ?? freePort();
    if (named) this.#running = new ComposeService("minio", this.port);
    this.endpoint = `${this.#isTls ? "https" : "http"}://127.0.0.1:${this.port}`;
  }

  static async start(dir: TempDir, options: MinioOptions): Promise<Minio> {
    const minio = new Minio(dir, options);
    minio.#running ??= await minio.#spawn(options);
    try {
      for (const bucket of options.buckets ?? []) await minio.makeBucket(bucket);
      return minio;
    } catch (error) {
      await minio.#running[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The environment in which the standard credential chain finds this server's keys. */
  get env(): Record<string, string> {
    return {
      AWS_ACCESS_KEY_ID: this.accessKey,
      AWS_SECRET_ACCESS_KEY: this.secretKey,
      AWS_EC2_METADATA_DISABLED: "true",
    };
  }

  /** An origin URL as musicfs takes it; `endpoint` if the way goes through a proxy. */
  url(bucket: string, options: { prefix?: string; endpoint?: string } = {}): string {
    const query = new URLSearchParams({
      endpoint: options.endpoint ?? this.endpoint,
      region: this.region,
    });
    const prefix = (options.prefix ?? "").split("/").map(encodeURIComponent).join("/");
    return `s3://${bucket}${prefix === "" ? "" : `/${prefix}`}?${query}`;
  }

  /** What the server wrote. */
  log(): string {
    return this.#server.log();
  }

  get pid(): number {
    return this.#server.pid;
  }

  /** Ends the process; port and data stay for `start`. */
  async stop(): Promise<void> {
    await this.#server.stop();
  }

  async kill(): Promise<void> {
    await this.#server.kill();
  }

  async start(): Promise<void> {
    await this.#server.start();
  }

  /** Connections stay open, nothing answers. */
  freeze(): void {
    this.#server.freeze();
  }

  thaw(): void {
    this.#server.thaw();
  }

  /** Makes an empty bucket; one that an earlier test left is emptied. */
  async makeBucket(bucket: string): Promise<void> {
    if (this.#server instanceof ServerProcess) {
      await this.request({ method: "PUT", path: `/${bucket}` });
      return;
    }
    await this.request({ method: "PUT", path: `/${bucket}` }).catch(() => {});
    for (let keys = await this.keys(bucket); keys.length > 0; keys = await this.keys(bucket)) {
      for (const key of keys) await this.remove(bucket, key);
    }
  }

  /** Up to 1,000 keys, the first. */
  async keys(bucket: string): Promise<string[]> {
    const query = { "list-type": "2", "encoding-type": "url" };
    const xml = await this.request({ method: "GET", path: `/${bucket}`, query });
    const found = xml.matchAll(/<Key>([^<]*)<\/Key>/g);
    return [...found].map(([, key = ""]) => decodeURIComponent(key.replaceAll("+", " ")));
  }

  async put(bucket: string, key: string, body: Uint8Array | string): Promise<void> {
    await this.request({ method: "PUT", path: `/${bucket}/${key}`, body });
  }

  async remove(bucket: string, key: string): Promise<void> {
    await this.request({ method: "DELETE", path: `/${bucket}/${key}` });
  }

  /** Puts many objects, `parallel` at a time. */
  async putAll(
    bucket: string,
    objects: Iterable<readonly [key: string, body: Uint8Array | string]>,
    { parallel = PUTS_MAX }: { parallel?: number } = {},
  ): Promise<void> {
    const rest = objects[Symbol.iterator]();
    const one = async (): Promise<void> => {
      for (let next = rest.next(); !next.done; next = rest.next()) {
        await this.put(bucket, next.value[0], next.value[1]);
      }
    };
    await Promise.all(Array.from({ length: parallel }, one));
  }

  /** Puts every regular file below `folder`, keyed by its path below it, after `prefix`. */
  async putFolder(bucket: string, folder: string, { prefix = "" } = {}): Promise<number> {
    const paths = await filesBelow(folder);
    const rest = paths[Symbol.iterator]();
    const one = async (): Promise<void> => {
      for (let next = rest.next(); !next.done; next = rest.next()) {
        const body = await Deno.readFile(join(folder, next.value));
        await this.put(bucket, prefix + next.value, body);
      }
    };
    await Promise.all(Array.from({ length: 4 }, one));
    return paths.length;
  }

  /**
   * Makes a great many objects with the same few bytes: the first is put, the others are links to
   * what MinIO made of it, which holds no name. 1,000,000 take 2 minutes; put, they take 15.
   *
   * Only for a MinIO of the test's own.
   */
  async putCopies(bucket: string, keys: Iterable<string>, body: string): Promise<void> {
    if (!(this.#server instanceof ServerProcess)) throw new Error("MinIO runs in a container");
    const root = join(this.#data, bucket);
    const seed = `seed-${crypto.randomUUID()}`;
    await this.put(bucket, seed, body);
    const bytes = await Deno.readFile(join(root, seed, "xl.meta"));
    linkAll(root, { keys, bytes });
    await this.remove(bucket, seed);
  }

  /** Lets anybody, without credentials, list the bucket and get its objects. */
  async allowAnonymous(bucket: string): Promise<void> {
    await this.request({
      method: "PUT",
      path: `/${bucket}`,
      query: { policy: "" },
      body: JSON.stringify({
        Version: "2012-10-17",
        Statement: [
          {
            Effect: "Allow",
            Principal: "*",
            Action: ["s3:ListBucket"],
            Resource: [`arn:aws:s3:::${bucket}`],
          },
          {
            Effect: "Allow",
            Principal: "*",
            Action: ["s3:GetObject"],
            Resource: [`arn:aws:s3:::${bucket}/*`],
          },
        ],
      }),
    });
  }

  /** A signed request that must succeed; its body as text. */
  async request(request: S3Request, credentials: Credentials = this): Promise<string> {
    const { accessKey, secretKey } = credentials;
    const { url, headers } = sign(request, { accessKey, secretKey, endpoint: this.endpoint });
    const response = await fetch(url, {
      method: request.method,
      headers,
      ...(request.body === undefined ? {} : { body: request.body as BodyInit }),
    });
    const text = await response.text();
    if (response.ok) return text;
    throw new Error(`${request.method} ${request.path}: ${response.status} ${text.slice(0, 500)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
    await this.#dir[Symbol.asyncDispose]();
  }

  get #server(): RunningServer {
    if (!this.#running) throw new Error("MinIO was never started");
    return this.#running;
  }

  async #spawn(options: MinioOptions): Promise<ServerProcess> {
    const certs = join(this.#dir.path, "certs");
    await Deno.mkdir(join(certs, "CAs"), { recursive: true });
    if (options.tls) {
      await Deno.writeTextFile(join(certs, "public.crt"), options.tls.certificate);
      await Deno.writeTextFile(join(certs, "private.key"), options.tls.key);
    }
    return await ServerProcess.start({
      name: "minio",
      program: required(MINIO),
      args: [
        ...["server", "--quiet", "--certs-dir", certs],
        ...["--address", `127.0.0.1:${this.port}`],
        ...["--console-address", `127.0.0.1:${freePort()}`],
        this.#data,
      ],
      env: {
        HOME: this.#dir.path,
        MINIO_ROOT_USER: this.accessKey,
        MINIO_ROOT_PASSWORD: this.secretKey,
        MINIO_UPDATE: "off",
        MINIO_BROWSER: "off",
      },
      logFile: join(this.#dir.path, "minio.log"),
      isReady: () => this.#isReady(),
    });
  }

  async #isReady(): Promise<boolean> {
    if (!(await accepts(this.port))) return false;
    // A test's certificate is not one that Deno trusts; its server is ready when it listens.
    if (this.#isTls) return true;
    const response = await fetch(`${this.endpoint}/minio/health/cluster`);
    await response.body?.cancel();
    return response.ok;
  }
}

function linkAll(
  root: string,
  { keys, bytes }: { keys: Iterable<string>; bytes: Uint8Array },
): void {
  let source = "";
  let links = LINKS_MAX;
  for (const key of keys) {
    const folder = join(root, key);
    Deno.mkdirSync(folder, { recursive: true });
    const path = `${folder}/xl.meta`;
    if (links === LINKS_MAX) {
      Deno.writeFileSync(path, bytes);
      source = path;
      links = 0;
    } else Deno.linkSync(source, path);
    links += 1;
  }
}

async function filesBelow(folder: string, below = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(join(folder, below))) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory) found.push(...await filesBelow(folder, path));
    else if (entry.isFile) found.push(path);
  }
  return found;
}
