/**
 * What one life of the daemon leaves for the next about the index: `index/last_life.json`.
 *
 * The note says "open" from the opening on, and "closed" with the look of data.mdb after a clean
 * stop. From it the next opener knows whether anything but musicfs may have touched the file.
 */

/** How data.mdb looked when it was closed. */
export interface FileLook {
  ino: string;
  size: number;
  ctimeNs: string;
  /** Number of the last commit; undefined in what an earlier musicfs noted. */
  commit?: string | undefined;
}

export interface IndexNote {
  /** `/proc/sys/kernel/random/boot_id` of that life. */
  bootId: string;
  state: "open" | "closed";
  /** Whether that life lasted `SETTLED_MS` after opening. */
  settled: boolean;
  /** Only when closed. */
  look: FileLook | undefined;
}

/** A life that ends sooner may have died of its index. Source: architecture, section 3. */
export const SETTLED_MS = 10_000;

/** When an index whose header is sound is probed: not at all, before it is opened, or after. */
export type ProbePlan = "none" | "first" | "later";

/**
 * Decides when the probe runs; `look` is that of the file as it is now.
 *
 * A clean stop had everything on the disk: a boot since then is reason to look, behind the mount,
 * but not to keep a million files waiting for it (docs/decisions/0005).
 */
export function probePlan(
  note: IndexNote | undefined,
  now: { bootId: string; look: FileLook | undefined; suspect: boolean },
): ProbePlan {
  if (note === undefined || now.suspect) return "first";
  const sameBoot = note.bootId === now.bootId;
  if (note.state === "closed") {
    if (!isSameLook(note.look, now.look)) return "first";
    return sameBoot ? "none" : "later";
  }
  return sameBoot && note.settled ? "later" : "first";
}

function isSameLook(a: FileLook | undefined, b: FileLook | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return a.ino === b.ino && a.size === b.size && a.ctimeNs === b.ctimeNs;
}

/**
 * Whether the last commit is another one than at the clean stop, as when one of the two meta pages is
 * damaged: LMDB then takes the older one for the newest, and nothing else tells of it.
 */
export function hasOtherCommit(note: IndexNote | undefined, now: FileLook | undefined): boolean {
  const [before, after] = [note?.look?.commit, now?.commit];
  return before !== undefined && after !== undefined && after !== before;
}

export function encodeNote(note: IndexNote): string {
  return JSON.stringify(note) + "\n";
}

/** The note in `text`; undefined if it is damaged, which is as good as none. */
export function decodeNote(text: string): IndexNote | undefined {
  const fields = parsed(text);
  if (fields === undefined) return undefined;
  const { bootId, state, settled, look } = fields;
  if (typeof bootId !== "string" || typeof settled !== "boolean") return undefined;
  if (state !== "open" && state !== "closed") return undefined;
  return { bootId, state, settled, look: decodeLook(look) };
}

function decodeLook(look: unknown): FileLook | undefined {
  if (!isObject(look)) return undefined;
  const { ino, size, ctimeNs, commit } = look;
  if (typeof ino !== "string" || typeof size !== "number") return undefined;
  if (typeof ctimeNs !== "string") return undefined;
  const isNumber = typeof commit === "string" && /^\d{1,20}$/.test(commit);
  return { ino, size, ctimeNs, ...(isNumber ? { commit } : {}) };
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
