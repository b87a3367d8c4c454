import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "./usage_error.ts";

/** Kinds of origins that musicfs knows by name but cannot open yet. */
const LATER_SCHEMES = ["s3", "sftp"];

/** From where `.` and `~` are taken. */
export interface PathBase {
  /** Folder that relative paths start from. */
  folder: string;
  home: string;
}

/**
 * Reads an origin as it was typed: a path, `file://`, `s3://` or `sftp://`.
 *
 * `identity` is what its files are known by for good: the absolute path, or the URL without user,
 * password and options. Throws {@linkcode UsageError} for what cannot be an origin.
 */
export function parseOriginUrl(typed: string, base: PathBase): { url: string; identity: string } {
  if (typed.trim() === "") throw unusable(typed, "it is empty");
  if (typed.includes("\0")) throw unusable(typed, "it contains a NUL");
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(typed)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    const path = absolutePath(typed, base);
    return { url: path, identity: path };
  }
  if (scheme === "file") return { url: typed, identity: filePath(typed) };
  if (!LATER_SCHEMES.includes(scheme)) {
    throw unusable(typed, "write a path, file:///path, s3://bucket/prefix or sftp://host/path");
  }
  throw unusable(typed, `${scheme}:// origins come with a later version of musicfs`);
}

/** A URL without user, password and options: fit to be shown, and an identity. */
export function withoutSecrets(url: string): string {
  const match = /^([a-z][a-z0-9+.-]*:\/\/)(?:[^/?#]*@)?([^?#]*)/i.exec(url);
  if (!match) return url;
  const [, scheme = "", rest = ""] = match;
  return scheme.toLowerCase() + rest.replace(/\/+$/, "");
}

/** `path` from `base.folder`, with `~` as the home folder; no `/` at the end. */
export function absolutePath(path: string, base: PathBase): string {
  const expanded = path === "~" || path.startsWith("~/") ? base.home + path.slice(1) : path;
  return resolve(base.folder, expanded);
}

function filePath(url: string): string {
  try {
    return resolve(fileURLToPath(url));
  } catch (cause) {
    throw unusable(url, "write file:///absolute/path", cause);
  }
}

function unusable(url: string, why: string, cause?: unknown): UsageError {
  const shown = withoutSecrets(url);
  return new UsageError(`Cannot use the origin "${shown}": ${why}`, { subject: shown, cause });
}
