import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import ssh2, { type Algorithms, type Attributes, type Connection, type SFTPWrapper } from "ssh2";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { fingerprintOf } from "../../src/origins/known_hosts.ts";
import { SftpOrigin } from "../../src/origins/sftp.ts";

/** Status codes of SFTP 3. */
export const status = { ok: 0, eof: 1, noSuchFile: 2, denied: 3, failure: 4 } as const;

/** What lies at a path, or what a scripted server says of it. */
export const folderAttrs = attrs({ mode: 0o040755 });
export const fileAttrs = attrs({ mode: 0o100644, size: 8 });

export function attrs(given: Partial<Attributes>): Attributes {
  return { mode: 0o100644, uid: 0, gid: 0, size: 0, atime: 0, mtime: 1_600_000_000, ...given };
}

export interface Name {
  filename: string;
  longname: string;
  attrs: Attributes;
}

export function nameOf(filename: string, given = fileAttrs): Name {
  return { filename, longname: "", attrs: given };
}

/** How a server answers each request; what is left out is as a folder with one file says it. */
export interface Script {
  open?(sftp: SFTPWrapper, id: number, path: string): void;
  read?(sftp: SFTPWrapper, id: number, offset: number, length: number): void;
  fstat?(sftp: SFTPWrapper, id: number): void;
  lstat?(sftp: SFTPWrapper, id: number, path: string): void;
  stat?(sftp: SFTPWrapper, id: number, path: string): void;
  opendir?(sftp: SFTPWrapper, id: number, path: string): void;
  readdir?(sftp: SFTPWrapper, id: number): void;
  realpath?(sftp: SFTPWrapper, id: number, path: string): void;
  readlink?(sftp: SFTPWrapper, id: number, path: string): void;
  /** Whether the password is to be asked for, and not taken when it is sent. */
  asks?: boolean;
}

export interface ScriptedServer extends AsyncDisposable {
  origin: SftpOrigin;
  /** Requests in the order in which they came: "OPEN", "READ", … */
  requests: string[];
  /** Ends every connection without a word. */
  cut(): void;
}

export const password = "open sesame";

/** A server in this process that answers as a test says, and an origin on it with one session. */
export async function scriptedServer(script: Script): Promise<ScriptedServer> {
  const hostKey = newHostKey();
  const requests: string[] = [];
  const connections = new Set<Connection>();
  // A server of ssh2 leaves its CTR ciphers open, which the leak checks of these tests notice.
  const algorithms: Algorithms = { cipher: ["aes128-gcm@openssh.com"] };
  const server = new ssh2.Server({ hostKeys: [hostKey], algorithms }, (connection) => {
    connections.add(connection);
    socketOf(connection).setNoDelay(true);
    connection.on("error", () => {/* The client left. */});
    connection.on("close", () => connections.delete(connection));
    letIn(connection, script);
    connection.on("session", (accept) => {
      accept().on("sftp", (acceptSftp) => answer(acceptSftp(), { script, requests }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address: unknown = server.address();
  assert(typeof address === "object" && address !== null && "port" in address);
  const parsed = ssh2.utils.parseKey(hostKey);
  assert(!(parsed instanceof Error));
  const fingerprint = fingerprintOf(parsed.getPublicSSH());
  const url = `sftp://me@127.0.0.1:${address.port}/music?fingerprint=${fingerprint}&sessions=1`;
  const origin = SftpOrigin.open({ name: "nas", url }, {
    log: silentLog,
    clock: systemClock,
    env: (name) => name === "MUSICFS_SFTP_PASSWORD" ? password : undefined,
  });
  return {
    origin,
    requests,
    cut(): void {
      for (const connection of connections) socketOf(connection).destroy();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await origin[Symbol.asyncDispose]();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Node's key: what `ssh2.utils.generateKeyPairSync` makes cannot always be read again. */
function newHostKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "sec1", format: "pem" }).toString();
}

/** ssh2 has no public way to it. */
function socketOf(
  connection: Connection,
): { destroy: () => void; setNoDelay: (on: boolean) => void } {
  return Reflect.get(connection, "_sock");
}

function letIn(connection: Connection, { asks }: Script): void {
  connection.on("authentication", (context) => {
    if (asks && context.method === "keyboard-interactive") {
      context.prompt([{ prompt: "Password: ", echo: false }], (answers) => {
        if (answers[0] === password) context.accept();
        else context.reject();
      });
    } else if (!asks && context.method === "password" && context.password === password) {
      context.accept();
    } else {
      context.reject([asks ? "keyboard-interactive" : "password"]);
    }
  });
}

function answer(
  sftp: SFTPWrapper,
  { script, requests }: { script: Script; requests: string[] },
): void {
  const handle = Buffer.from("handle");
  let isListed = false;
  const on = (name: string, call: (id: number, ...args: never[]) => void): void => {
    sftp.on(name, (id: number, ...args: never[]) => {
      requests.push(name);
      call(id, ...args);
    });
  };
  on("OPEN", (id, path) => script.open ? script.open(sftp, id, path) : sftp.handle(id, handle));
  on("READ", (id, _handle, offset: number, length: number) => {
    if (script.read) return script.read(sftp, id, offset, length);
    sftp.data(id, Buffer.from([0, 1, 2, 3, 4, 5, 6, 7]).subarray(offset, offset + length));
  });
  on("FSTAT", (id) => script.fstat ? script.fstat(sftp, id) : sftp.attrs(id, fileAttrs));
  on("LSTAT", (id, path: string) => {
    if (script.lstat) return script.lstat(sftp, id, path);
    sftp.attrs(id, path.includes("song") ? fileAttrs : folderAttrs);
  });
  on("STAT", (id, path) => script.stat ? script.stat(sftp, id, path) : sftp.attrs(id, folderAttrs));
  on("OPENDIR", (id, path) => {
    isListed = false;
    if (script.opendir) script.opendir(sftp, id, path);
    else sftp.handle(id, handle);
  });
  on("READDIR", (id) => {
    if (script.readdir) return script.readdir(sftp, id);
    if (isListed) return sftp.status(id, status.eof);
    isListed = true;
    sftp.name(id, [nameOf("song")]);
  });
  on("REALPATH", (id, path: string) => {
    if (script.realpath) return script.realpath(sftp, id, path);
    sftp.name(id, [nameOf(path)]);
  });
  on("READLINK", (id, path) => {
    if (script.readlink) script.readlink(sftp, id, path);
    else sftp.status(id, status.failure);
  });
  on("CLOSE", (id) => sftp.status(id, status.ok));
}
