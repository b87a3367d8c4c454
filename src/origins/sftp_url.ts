import { isIPv6 } from "node:net";
import { MusicfsError } from "../base/errors.ts";

/** Sessions of one origin, unless the URL says otherwise, and the most it may ask for. */
const SESSIONS = 4;
const SESSIONS_MAX = 16;

const PORT = 22;

/** `[IPv6 address]` or a name, then perhaps a port. */
const PLACE = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([0-9]*))?$/;

const OPTIONS = [
  "identity_file",
  "known_hosts",
  "fingerprint",
  "password_file",
  "passphrase_file",
  "sessions",
] as const;
type OptionName = typeof OPTIONS[number];

/** Where and how an SFTP server is reached, as the URL says; `~/` in files is not yet expanded. */
export interface SftpAddress {
  /** User to log in as; undefined for the one who runs musicfs. */
  user: string | undefined;
  /** Name or address, an IPv6 address without its brackets. */
  host: string;
  port: number;
  /** Absolute path of the origin's folder on the server, without a `/` at its end; "" is `/`. */
  root: string;
  identityFile: string | undefined;
  passphraseFile: string | undefined;
  passwordFile: string | undefined;
  knownHosts: string | undefined;
  /** The one host key that is accepted, as `SHA256:` and base64 without padding. */
  fingerprint: string | undefined;
  /** Sessions to open at most, 1 to 16. */
  sessions: number;
}

/**
 * Reads `sftp://user@host:22/absolute/path?option=value`.
 *
 * A `+` in an option is a plus. Throws `invalid` if the URL cannot be used, never with a secret in
 * the message: of a URL with a password nothing is repeated but the host.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseSftpUrl } from "./sftp_url.ts";
 *
 * const { user, host, port, root } = parseSftpUrl("sftp://me@[::1]:2222/srv/my%20music/");
 * assert.deepEqual({ user, host, port, root }, {
 *   user: "me",
 *   host: "::1",
 *   port: 2222,
 *   root: "/srv/my music",
 * });
 * ```
 */
export function parseSftpUrl(url: string): SftpAddress {
  const parts = /^sftp:\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/is.exec(url);
  if (!parts) throw unusable("sftp", "write sftp://user@host/absolute/path");
  const [, authority = "", path = "", query = "", fragment] = parts;
  const at = authority.lastIndexOf("@");
  const place = authority.slice(at + 1);
  // A password with a "/" or "?" in it looks like a host and what follows it.
  const shown = PLACE.test(place) ? `sftp://${place}${path}` : "sftp";
  if (fragment !== undefined) {
    throw unusable(shown, 'it has a "#"; write %23 for one that belongs to the path');
  }
  const user = at < 0 ? undefined : decodedUser(authority.slice(0, at), shown);
  const { host, port } = hostAndPort(place, shown);
  const options = decodedOptions(query, shown);
  return {
    user,
    host,
    port,
    root: decodedRoot(path, shown),
    identityFile: options.get("identity_file"),
    passphraseFile: options.get("passphrase_file"),
    passwordFile: options.get("password_file"),
    knownHosts: options.get("known_hosts"),
    fingerprint: fingerprintOf(options, shown),
    sessions: sessionsOf(options, shown),
  };
}

function decodedUser(text: string, shown: string): string | undefined {
  if (text.includes(":")) {
    throw unusable(
      shown,
      "a password does not belong in a URL, where others can read it. Put it into a file and add " +
        "?password_file=FILE, or set MUSICFS_SFTP_PASSWORD",
    );
  }
  const user = decoded(text, { what: "user", shown });
  return user === "" ? undefined : user;
}

function hostAndPort(place: string, shown: string): { host: string; port: number } {
  const parts = PLACE.exec(place);
  if (!parts) {
    throw unusable(shown, "its host is not a name, an address or an [IPv6 address]");
  }
  const [, ipv6, name, digits] = parts;
  if (ipv6 !== undefined && !isIPv6(ipv6)) throw unusable(shown, `[${ipv6}] is no IPv6 address`);
  const host = ipv6 ?? decoded(name ?? "", { what: "host", shown });
  if (host === "") throw unusable(shown, "it names no host");
  if (/[\s\0/\\,*?!|@#"']/.test(host)) throw unusable(shown, "its host is not a host's name");
  const port = digits === undefined || digits === "" ? PORT : Number(digits);
  if (port >= 1 && port <= 65_535) return { host, port };
  throw unusable(shown, `${digits} is no port`);
}

function decodedRoot(path: string, shown: string): string {
  if (path === "") {
    throw unusable(shown, "it names no folder; write sftp://host/absolute/path");
  }
  const root = decoded(path, { what: "path", shown });
  if (root.includes("\0")) throw unusable(shown, "its path contains a NUL");
  const parts = root.split("/").filter((part) => part !== "");
  if (parts.some((part) => part === "." || part === "..")) {
    throw unusable(shown, 'its path has a "." or ".."; write the path that is meant');
  }
  return parts.map((part) => `/${part}`).join("");
}

function decodedOptions(query: string, shown: string): Map<OptionName, string> {
  const options = new Map<OptionName, string>();
  for (const pair of query.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const typed = equals < 0 ? pair : pair.slice(0, equals);
    const name = OPTIONS.find((option) => option === typed);
    if (name === undefined) {
      throw unusable(shown, `"${printable(typed)}" is not one of ${OPTIONS.join(", ")}`);
    }
    if (options.has(name)) throw unusable(shown, `${name} is given twice`);
    const value = decoded(equals < 0 ? "" : pair.slice(equals + 1), { what: name, shown });
    if (value === "") throw unusable(shown, `${name} is empty`);
    options.set(name, value);
  }
  return options;
}

function fingerprintOf(options: Map<OptionName, string>, shown: string): string | undefined {
  const text = options.get("fingerprint");
  if (text === undefined) return undefined;
  // 32 bytes in base64: 43 digits, and perhaps the padding that ssh leaves out.
  const digits = /^SHA256:([A-Za-z0-9+/]{43})=?$/.exec(text)?.[1];
  if (digits !== undefined) return `SHA256:${digits}`;
  throw unusable(
    shown,
    "its fingerprint is not SHA256: and 43 characters, as ssh-keygen -l prints",
  );
}

function sessionsOf(options: Map<OptionName, string>, shown: string): number {
  const text = options.get("sessions");
  if (text === undefined) return SESSIONS;
  const sessions = /^[0-9]{1,3}$/.test(text) ? Number(text) : 0;
  if (sessions >= 1 && sessions <= SESSIONS_MAX) return sessions;
  throw unusable(shown, `sessions=${printable(text)} is not a number from 1 to ${SESSIONS_MAX}`);
}

function decoded(text: string, { what, shown }: { what: string; shown: string }): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    if (cause instanceof URIError) {
      throw unusable(shown, `its ${what} is not URL-encoded UTF-8; write %25 for "%"`);
    }
    throw cause;
  }
}

/** What was typed, cut to what can be no secret of any length and spoils no terminal. */
function printable(typed: string): string {
  return typed.slice(0, 24).replace(/[^\x20-\x7e]/g, "?");
}

function unusable(shown: string, reason: string): MusicfsError {
  return new MusicfsError("invalid", `Cannot use the origin "${shown}": ${reason}`, {
    op: "origin.open",
    subject: shown,
  });
}
