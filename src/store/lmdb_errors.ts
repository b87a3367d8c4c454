import { MusicfsError } from "../base/errors.ts";
import { statFilesystem } from "../base/posix.ts";

/** Free bytes below which a failed write is put down to a full disk. */
const FULL_BYTES_MAX = 1024 * 1024;

const EIO = 5;
const ENOSPC = 28;
const EDQUOT = 122;

/** LMDB's own codes that mean damage: PAGE_NOTFOUND, CORRUPTED, PANIC, VERSION_MISMATCH, INVALID. */
const DAMAGE = new Set([-30797, -30796, -30795, -30794, -30793]);

/** Gives lmdb-js's errors, which carry LMDB's code or an errno, one of ours; others are bugs. */
export function translated(error: unknown, op: string, dir: string): unknown {
  const code = numericCode(error);
  if (code === undefined) return error;
  const context = { op, subject: dir, cause: error };
  const reason = error instanceof Error ? error.message : String(error);
  if (DAMAGE.has(code)) {
    return new MusicfsError(
      "corrupt",
      `The index in ${dir} is damaged: ${reason}. Restart musicfs, which then rebuilds it.`,
      context,
    );
  }
  if (code === ENOSPC || code === EDQUOT || (code === EIO && isFull(dir))) {
    return new MusicfsError(
      "full",
      `Cannot write to the index in ${dir}: the disk is full. Make room, or lower --max-size.`,
      context,
    );
  }
  return new MusicfsError(
    "unavailable",
    `Cannot use the index in ${dir}: ${reason} (${code}). Look at the cache disk.`,
    context,
  );
}

function numericCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || error instanceof MusicfsError) return undefined;
  const code: unknown = Reflect.get(error, "code");
  return typeof code === "number" ? code : undefined;
}

/** What the disk said to a request for room, as an error. */
export function refused(code: number, dir: string): unknown {
  const reason = new Error("the disk gives no room");
  return translated(Object.assign(reason, { code }), "index.commit", dir);
}

/** LMDB reports a short write as EIO, and only the filesystem knows whether it was full. */
function isFull(dir: string): boolean {
  const status = statFilesystem(dir);
  return typeof status !== "number" && status.freeBytes < FULL_BYTES_MAX;
}
