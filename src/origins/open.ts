import { isAbsolute, resolve } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Clock } from "../base/clock.ts";
import { LazyOrigin } from "./lazy.ts";
import { LocalOrigin } from "./local.ts";
import type { CallOptions, Origin } from "./origin.ts";
import { parseS3Url } from "./s3_url.ts";
import { parseSftpUrl } from "./sftp_url.ts";

/** What is needed to open an origin: the part of its configuration that names it. */
export interface OriginAddress {
  /** Identity, see {@linkcode originIdentity}. */
  name: string;
  /** A path, or a URL with the scheme `file`, `s3` or `sftp`. */
  url: string;
}

/** What an origin needs of the program that opens it. */
export interface OpenOptions {
  log: Log;
  clock: Clock;
  /** The environment: credentials, `HOME`, `CREDENTIALS_DIRECTORY`. */
  env: (name: string) => string | undefined;
}

/** An origin that holds connections or descriptors, which end with it. */
export interface OpenedOrigin extends Origin, AsyncDisposable {
  /** Loads what is needed and begins to connect; what that comes to, the first call tells. */
  connect?(options: CallOptions): Promise<void>;
}

/**
 * Opens an origin by its URL. One that cannot be reached now is opened all the same: nothing is
 * connected before the first call.
 *
 * Throws `invalid` for a URL that cannot be used.
 */
export async function openOrigin(
  address: OriginAddress,
  options: OpenOptions,
): Promise<OpenedOrigin> {
  const scheme = schemeOf(address.url);
  switch (scheme) {
    case "file":
      return await LocalOrigin.open(address.name, localPath(address.url), options);
    // Each of these loads a client library of some MB, which only those pay for who ask for it.
    case "s3":
      parseS3Url(address.url);
      return new LazyOrigin(address.name, async () => {
        const { S3Origin } = await import("./s3.ts");
        return S3Origin.open(address, options);
      }, { listsTree: true });
    case "sftp":
      parseSftpUrl(address.url);
      return new LazyOrigin(address.name, async () => {
        const { SftpOrigin } = await import("./sftp.ts");
        return SftpOrigin.open(address, options);
      });
    default:
      throw unusable(address, `"${scheme}" is not one of file, s3 and sftp`);
  }
}

/**
 * The folder that a local origin's URL or path names, without a `/` at its end; undefined for all
 * other origins.
 */
export function localFolder(url: string): string | undefined {
  return schemeOf(url) === "file" ? localPath(url) : undefined;
}

/** Where an origin is, by its URL, which `openOrigin` takes. */
export type OriginPlace = "local" | "s3" | "sftp";

export function placeOf(url: string): OriginPlace {
  const scheme = schemeOf(url);
  return scheme === "file" ? "local" : scheme === "s3" ? "s3" : "sftp";
}

/**
 * The URL without user, password and options: what an origin without a name is known by.
 *
 * A local origin is its absolute path, whether it was typed as a path or as a URL.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { originIdentity } from "./open.ts";
 *
 * assert.equal(originIdentity("file:///srv/music/"), "/srv/music");
 * assert.equal(originIdentity("sftp://me:secret@nas:2222/music?x=1"), "sftp://nas:2222/music");
 * ```
 */
export function originIdentity(url: string): string {
  const local = localFolder(url);
  if (local !== undefined) return local;
  const { protocol, host, pathname } = parsed(url);
  return `${protocol}//${host}${pathname.replace(/\/+$/, "")}`;
}

function schemeOf(url: string): string {
  return /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase() ?? "file";
}

function localPath(url: string): string {
  if (!/^file:\/\//i.test(url)) {
    if (url !== "") return resolve(url);
    throw unusable({ name: url, url }, "it is empty; give a folder");
  }
  const { host, pathname } = parsed(url);
  if (host !== "" && host !== "localhost") {
    throw unusable({ name: url, url }, `"${host}" is another machine; write file:///folder`);
  }
  const path = fileURLToPath(`file://${pathname}`);
  if (isAbsolute(path)) return resolve(path);
  throw unusable({ name: url, url }, "its path is not absolute");
}

function parsed(url: string): URL {
  const result = URL.parse(url);
  if (result) return result;
  throw unusable({ name: "", url: "" }, "it is not a URL");
}

function unusable({ name }: OriginAddress, reason: string): MusicfsError {
  return new MusicfsError("invalid", `Cannot use origin "${name}": ${reason}`, {
    op: "origin.open",
    subject: name,
  });
}
