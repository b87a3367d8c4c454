/**
 * The files in which ssh keeps the keys of the servers it knows.
 *
 * Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
 */

import { Buffer } from "node:buffer";
import { createHash, createHmac } from "node:crypto";

const PORT = 22;

/** One line of a known_hosts file. */
export interface KnownHost {
  marker: "revoked" | "cert-authority" | undefined;
  /** What the line says of hosts: patterns, or one hashed name. */
  patterns: readonly string[];
  /** As in the key itself: `ssh-ed25519`, `ssh-rsa`, … */
  keyType: string;
  /** The key in base64, without padding. */
  key: string;
}

/** What known_hosts says of the key that a server showed. */
export type HostKeyVerdict =
  | { is: "known" }
  /** The file says that this key must not be used any more. */
  | { is: "revoked" }
  /** Another key of the same type is known: the server changed, or it is not the server. */
  | { is: "changed" }
  /** `otherTypes`: what keys of it are known; `authority`: a certificate authority is. */
  | { is: "unknown"; otherTypes: readonly string[]; authority: boolean };

/** A server's name as known_hosts has it: `nas`, or `[nas]:2222` for other ports than 22. */
export function hostToken(host: string, port: number): string {
  const name = host.toLowerCase();
  return port === PORT ? name : `[${name}]:${port}`;
}

/** `SHA256:` and the base64 of the hash of a key, without padding, as ssh prints it. */
export function fingerprintOf(key: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** The type that stands at the start of every public key; undefined for what is none. */
export function keyTypeOf(key: Uint8Array): string | undefined {
  if (key.length < 4) return undefined;
  const length = new DataView(key.buffer, key.byteOffset).getUint32(0);
  if (length === 0 || length > 64 || key.length < 4 + length) return undefined;
  const type = new TextDecoder().decode(key.subarray(4, 4 + length));
  return /^[\x21-\x7e]+$/.test(type) ? type : undefined;
}

/** The lines of a known_hosts file; what cannot be read as one is left out, as ssh does. */
export function parseKnownHosts(text: string): KnownHost[] {
  const hosts: KnownHost[] = [];
  for (const line of text.split("\n")) {
    const words = line.trim().split(/[ \t]+/);
    if (words[0] === undefined || words[0] === "" || words[0].startsWith("#")) continue;
    const mark = words[0].startsWith("@") ? words.shift() : undefined;
    const [names, keyType, key] = words;
    if (names === undefined || keyType === undefined || key === undefined) continue;
    const marker = markerOf(mark);
    if (mark !== undefined && marker === undefined) continue;
    if (!/^[A-Za-z0-9+/]+=*$/.test(key)) continue;
    hosts.push({ marker, patterns: names.split(","), keyType, key: key.replace(/=+$/, "") });
  }
  return hosts;
}

/** Types of the keys by which a server is known; asked for first, as ssh does. */
export function knownKeyTypes(hosts: readonly KnownHost[], host: string, port: number): string[] {
  const types = new Set<string>();
  for (const { marker, keyType } of about(hosts, host, port)) {
    if (marker === undefined) types.add(keyType);
  }
  return [...types];
}

/**
 * Judges the key that a server showed.
 *
 * A server on another port than 22 is looked up by `[name]:port` and, if that says nothing against
 * the key, accepted by its plain name too, as ssh does.
 */
export function judgeHostKey(
  hosts: readonly KnownHost[],
  { host, port, key }: { host: string; port: number; key: Uint8Array },
): HostKeyVerdict {
  const verdict = judge(matching(hosts, hostToken(host, port)), key);
  if (port === PORT) return verdict;
  const plain = judge(matching(hosts, hostToken(host, PORT)), key);
  if (plain.is === "revoked") return plain;
  if (verdict.is === "unknown" && plain.is === "known") return plain;
  return verdict;
}

function judge(lines: readonly KnownHost[], key: Uint8Array): HostKeyVerdict {
  const shown = base64(key);
  const type = keyTypeOf(key);
  const isThis = (line: KnownHost): boolean => line.key === shown && line.keyType === type;
  if (lines.some((line) => line.marker === "revoked" && line.key === shown)) {
    return { is: "revoked" };
  }
  const plain = lines.filter(({ marker }) => marker === undefined);
  if (plain.some(isThis)) return { is: "known" };
  if (plain.some(({ keyType }) => keyType === type)) return { is: "changed" };
  return {
    is: "unknown",
    otherTypes: [...new Set(plain.map(({ keyType }) => keyType))],
    authority: lines.some(({ marker }) => marker === "cert-authority"),
  };
}

function about(hosts: readonly KnownHost[], host: string, port: number): KnownHost[] {
  const lines = matching(hosts, hostToken(host, port));
  if (port === PORT || lines.some(({ marker }) => marker === undefined)) return lines;
  return matching(hosts, hostToken(host, PORT));
}

function matching(hosts: readonly KnownHost[], name: string): KnownHost[] {
  return hosts.filter(({ patterns }) => matches(patterns, name));
}

/** A name matches if one of the patterns does, and none of those that begin with `!`. */
function matches(patterns: readonly string[], name: string): boolean {
  let found = false;
  for (const pattern of patterns) {
    if (pattern.startsWith("|")) {
      found ||= matchesHash(pattern, name);
    } else if (pattern.startsWith("!")) {
      if (matchesGlob(pattern.slice(1), name)) return false;
    } else {
      found ||= matchesGlob(pattern, name);
    }
  }
  return found;
}

/** `|1|salt|hash`: HMAC-SHA1 of the name with the salt as key, both in base64. */
function matchesHash(pattern: string, name: string): boolean {
  const [, version, salt, hash] = pattern.split("|");
  if (version !== "1" || salt === undefined || hash === undefined) return false;
  const digest = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest("base64");
  return digest.replace(/=+$/, "") === hash.replace(/=+$/, "");
}

/** `*` is any text and `?` one character; linear but for the last `*`, so no line takes long. */
function matchesGlob(pattern: string, name: string): boolean {
  const glob = pattern.toLowerCase();
  let [at, star, retry] = [0, -1, 0];
  for (let i = 0; i < name.length;) {
    if (glob[at] === "*") {
      star = at;
      retry = i;
      at += 1;
    } else if (at < glob.length && (glob[at] === "?" || glob[at] === name[i])) {
      at += 1;
      i += 1;
    } else if (star >= 0) {
      at = star + 1;
      retry += 1;
      i = retry;
    } else {
      return false;
    }
  }
  while (glob[at] === "*") at += 1;
  return at === glob.length;
}

function markerOf(word: string | undefined): KnownHost["marker"] {
  if (word === "@revoked") return "revoked";
  return word === "@cert-authority" ? "cert-authority" : undefined;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
