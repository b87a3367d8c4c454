import type { Negotiated } from "../fuse/negotiation.ts";

/** Name of the file in the cache folder. */
export const SESSION_FILE = "session.json";

/** What a successor needs to go on with a mount; the rest it reads from the index. */
export interface SessionRecord {
  format: 1;
  mountpoint: string;
  /** Of the index: node ids of another epoch name other files. */
  epoch: string;
  /** INIT comes once in a mount's life; this is how it ended. */
  agreed: Negotiated;
  uid: number;
}

/** Writes the record so that a reader sees the old one or the new one, never half of one. */
export async function writeSession(cacheDir: string, record: SessionRecord): Promise<void> {
  const path = `${cacheDir}/${SESSION_FILE}`;
  await Deno.writeTextFile(`${path}.new`, JSON.stringify(record) + "\n", { mode: 0o600 });
  await Deno.rename(`${path}.new`, path);
}

/** Forgets the session: the mount is gone. */
export async function removeSession(cacheDir: string): Promise<void> {
  await Deno.remove(`${cacheDir}/${SESSION_FILE}`).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}
