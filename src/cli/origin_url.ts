import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { MusicfsError } from "../base/errors.ts";
import { parseS3Url } from "../origins/s3_url.ts";
import { parseSftpUrl } from "../origins/sftp_url.ts";
import { shownUrl } from "../origins/shown_url.ts";
import { UsageError } from "./usage_error.ts";

/** From where `.` and `~` are taken. */
export interface PathBase {
  /** Folder that relative paths start from. */
  folder: string;
  home: string;
}

/** An origin as it was typed, checked. */
export interface TypedOrigin {
  /** As typed, but for a path, which is made absolute. May hold secrets. */
  url: string;
  /** What its files are known by for good: an absolute path, or the URL without secrets and options. */
  identity: string;
}

/**
 * Reads an origin as it was typed: a path, `file://`, `s3://` or `sftp://`.
 *
 * Throws {@linkcode UsageError} for what cannot be an origin; no secret is in its message.
 */
export function parseOriginUrl(typed: string, base: PathBase): TypedOrigin {
  if (typed.trim() === "") throw unusable(typed, "it is empty");
  if (typed.includes("\0")) throw unusable(typed, "it contains a NUL");
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(typed)?.[1]?.toLowerCase();
  switch (scheme) {
    case undefined: {
      const path = absolutePath(typed, base);
      return { url: path, identity: path };
    }
    case "file":
      return { url: typed, identity: filePath(typed) };
    case "s3":
      checkWith(parseS3Url, typed);
      return { url: typed, identity: shownUrl(typed) };
    case "sftp":
      checkWith(parseSftpUrl, typed);
      return { url: typed, identity: shownUrl(typed) };
    default:
      throw unusable(typed, "write a path, file:///path, s3://bucket/prefix or sftp://host/path");
  }
}

/**
 * Tells an origin from another of the same identity by its endpoint, as two servers with buckets of
 * one name need it; undefined if it has none. It may be shown.
 */
export function identityWithEndpoint({ url, identity }: TypedOrigin): string | undefined {
  if (!/^s3:/i.test(url)) return undefined;
  // A `+` in a query is a plus, which URLSearchParams would take for a space.
  const query = URL.parse(url)?.search.replaceAll("+", "%2B");
  const endpoint = new URLSearchParams(query).get("endpoint");
  return endpoint ? `${identity}?endpoint=${shownUrl(endpoint)}` : undefined;
}

/** `path` from `base.folder`, with `~` as the home folder; no `/` at the end. */
export function absolutePath(path: string, base: PathBase): string {
  const expanded = path === "~" || path.startsWith("~/") ? base.home + path.slice(1) : path;
  return resolve(base.folder, expanded);
}

function checkWith(parse: (url: string) => unknown, typed: string): void {
  // The parts of such a URL are not what they seem, and may be a password.
  if (typed.includes("@") && !URL.parse(typed)) {
    throw unusable(typed, "it is not a URL; write sftp://user@host:port/path, without a password");
  }
  try {
    parse(typed);
  } catch (error) {
    if (!(error instanceof MusicfsError)) throw error;
    throw new UsageError(error.message, { subject: shownUrl(typed), cause: error });
  }
}

function filePath(url: string): string {
  try {
    return resolve(fileURLToPath(url));
  } catch (cause) {
    throw unusable(url, "write file:///absolute/path", cause);
  }
}

function unusable(url: string, why: string, cause?: unknown): UsageError {
  const shown = shownUrl(url);
  return new UsageError(`Cannot use the origin "${shown}": ${why}`, { subject: shown, cause });
}
