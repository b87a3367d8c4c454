import type { Client } from "ssh2";

/** Where ssh2 keeps Node's ciphers. Source: ssh2 1.17, lib/protocol/crypto.js. */
const CIPHERS = [["_cipher", "_cipherInstance"], ["_decipher", "_decipherInstance"]] as const;

/**
 * Ends the ciphers of a connection that is over. ssh2 leaves open what it was in the middle of, and
 * Deno keeps an entry in its table of resources for each until it is ended.
 */
export function releaseCiphers(client: Client): void {
  for (const [holder, name] of CIPHERS) {
    const cipher = partOf(partOf(partOf(client, "_protocol"), holder), name);
    const final = partOf(cipher, "final");
    if (typeof final !== "function") continue;
    try {
      Reflect.apply(final, cipher, []);
    } catch (error) {
      // It was in mid-packet, or has ended before: either way it is gone now.
      if (!(error instanceof Error)) throw error;
    }
  }
}

function partOf(thing: unknown, name: string): unknown {
  return typeof thing === "object" && thing !== null ? Reflect.get(thing, name) : undefined;
}
