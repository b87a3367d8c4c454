import type { Log } from "../base/log.ts";
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
  /** Daemons that took the mount over so far. */
  takeovers: number;
  /** How many of the last ones died before they had served for `SETTLED_MS`. */
  quickDeaths: number;
}

/** Writes the record so that a reader sees the old one or the new one, never half of one. */
export async function writeSession(cacheDir: string, record: SessionRecord): Promise<void> {
  const path = `${cacheDir}/${SESSION_FILE}`;
  await Deno.writeTextFile(`${path}.new`, JSON.stringify(record) + "\n", { mode: 0o600 });
  await Deno.rename(`${path}.new`, path);
}

/**
 * Writes the record if the disk takes it; whether it did. Without it a successor goes by an older
 * record, or mounts anew.
 */
export async function keepSession(
  record: SessionRecord,
  { cacheDir, log }: { cacheDir: string; log: Log },
): Promise<boolean> {
  try {
    await writeSession(cacheDir, record);
    return true;
  } catch (error) {
    log.warning("The mount's record could not be written", { error });
    return false;
  }
}

/** The record; undefined if there is none, or none that can be used. */
export async function readSession(cacheDir: string): Promise<SessionRecord | undefined> {
  try {
    const record: Partial<SessionRecord> = JSON.parse(
      await Deno.readTextFile(`${cacheDir}/${SESSION_FILE}`),
    );
    return isWhole(record) ? record : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Forgets the session: the mount is gone. */
export async function removeSession(cacheDir: string): Promise<void> {
  await Deno.remove(`${cacheDir}/${SESSION_FILE}`).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

function isWhole(record: Partial<SessionRecord> | null): record is SessionRecord {
  if (record?.format !== 1 || typeof record.agreed !== "object") return false;
  const { mountpoint, epoch, takeovers, quickDeaths } = record;
  return typeof mountpoint === "string" && typeof epoch === "string" &&
    Number.isSafeInteger(takeovers) && Number.isSafeInteger(quickDeaths);
}
