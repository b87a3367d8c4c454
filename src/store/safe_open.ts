/**
 * Opening the index without dying of it.
 *
 * lmdb-js ends the process when it opens a damaged file or a full disk. So: room first, then the
 * header, then, where the file may have changed behind our back, a probe in a child process; a bad
 * index is renamed aside and a new one made. Measured on 194 openings of damaged files: none
 * crashed, none gave a wrong record (libraries.md, section 3).
 */
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { statFilesystem } from "../base/posix.ts";
import { openXxh64 } from "../chunking/xxh64.ts";
import { Ballast } from "./ballast.ts";
import type { Index } from "./index.ts";
import { IndexFiles, markIndexSuspect } from "./index_files.ts";
import { hasOtherCommit, type IndexNote, probePlan, SETTLED_MS } from "./index_note.ts";
import { openEnvironment } from "./lmdb.ts";
import type { IndexProbe } from "./probe_child.ts";

/** Free bytes without which no index is created. A new one takes 8 + 100 KiB, and must grow. */
const CREATE_BYTES_MIN = 1024 * 1024;

const BOOT_ID = "/proc/sys/kernel/random/boot_id";

export interface OpenIndexOptions {
  /** `<cache>/index`, absolute. The caller holds the cache's lock. */
  dir: string;
  clock: Clock;
  log: Log;
  /** `childProbe(…)`; what it throws is logged, and the probe is then left for later. */
  probe: IndexProbe;
  /** Random, 32 hex digits: the epoch if an index has to be created. */
  newEpoch: string;
  /** At least 4 bytes, the commit counter; given to `openIndexReader` in the other threads. */
  shared?: SharedArrayBuffer;
}

export interface OpenedIndex {
  /** Disposing of it notes the clean stop. */
  index: Index;
  /** Whether it is new and empty: the caller rebuilds it from what is on the disk. */
  created: boolean;
  /** What the damaged index is called now. */
  setAside: string | undefined;
  /**
   * Whether the caller should run the probe behind the mount, and `markIndexSuspect` what it finds
   * bad.
   */
  probeLater: boolean;
  shared: SharedArrayBuffer;
  /** Let go of when a commit finds the disk full, and put back when there is room again. */
  ballast: Ballast;
}

/**
 * Opens the index for the one thread that writes; makes it if there is none.
 *
 * Throws `invalid` for an index of a newer musicfs or a `dir` that is no folder, `denied` without
 * permission, `full` if there is no room to make one, `unavailable` if the disk refuses.
 */
export async function openIndex(options: OpenIndexOptions): Promise<OpenedIndex> {
  const files = new IndexFiles(options.dir);
  const opening = new Opening(options, files);
  await files.makeFolder();
  const bootId = await readBootId(options.clock);
  const { fault, probeLater } = await opening.inspect(bootId);
  if (fault !== undefined) await opening.setAside(fault);
  await opening.prepare(bootId);
  try {
    return await opening.open(bootId, probeLater && fault === undefined);
  } catch (error) {
    if (!(error instanceof MusicfsError) || error.code !== "corrupt") throw error;
    await opening.setAside(error.message);
    await opening.prepare(bootId);
    return await opening.open(bootId, false);
  }
}

/** Opens the index that this process has already opened, for reading in another thread. */
export async function openIndexReader(
  { dir, shared }: { dir: string; shared: SharedArrayBuffer },
): Promise<Index> {
  const hash = await openXxh64();
  const onCorrupt = (): void => void markIndexSuspect(dir);
  return openEnvironment({ dir, shared, hash, writable: false, onCorrupt });
}

/** One run of the procedure. */
class Opening {
  readonly #options: OpenIndexOptions;
  readonly #files: IndexFiles;
  readonly #ballast: Ballast;
  #setAside: string | undefined;

  constructor(options: OpenIndexOptions, files: IndexFiles) {
    this.#options = options;
    this.#files = files;
    this.#ballast = new Ballast(options.dir);
  }

  /** Looks at the index from outside, and has it probed if that must come first. */
  async inspect(bootId: string): Promise<{ fault: string | undefined; probeLater: boolean }> {
    const files = this.#files;
    const fault = await files.fault();
    if (fault !== undefined || !files.exists()) return { fault, probeLater: false };
    const now = { bootId, look: files.look(), suspect: files.isSuspect() };
    const note = await files.readNote();
    if (hasOtherCommit(note, now.look)) {
      return { fault: "its last commit is not the one of the last clean stop", probeLater: false };
    }
    const plan = probePlan(note, now);
    if (plan !== "first") return { fault: undefined, probeLater: plan === "later" };
    await this.#makeLock();
    return await this.#probe();
  }

  async setAside(fault: string): Promise<void> {
    const { clock, dir, log } = this.#options;
    this.#ballast.release();
    this.#setAside = await this.#files.setAside(clock.now());
    log.warning("The index is damaged. It was set aside and is being rebuilt", {
      index: dir,
      fault,
      setAside: this.#setAside,
    });
    await this.#files.dropOldSetAside();
  }

  /** Sees to the room and to what LMDB would stumble over. */
  async prepare(bootId: string): Promise<void> {
    if (!this.#files.exists()) this.#requireRoom();
    await this.#makeLock();
    this.#ballast.restore();
    await this.#note({ bootId, state: "open", settled: false, look: undefined });
  }

  async open(bootId: string, probeLater: boolean): Promise<OpenedIndex> {
    const { dir, log, newEpoch } = this.#options;
    const shared = this.#options.shared ?? new SharedArrayBuffer(4);
    const hash = await openXxh64();
    const stop = new AbortController();
    const settling = Promise.withResolvers<boolean>();
    const index = openEnvironment({
      dir,
      shared,
      hash,
      writable: true,
      newEpoch,
      onFull: () => {
        const freed = this.#ballast.release();
        if (freed > 0) log.warning("The cache disk is full", { index: dir, freed });
      },
      onUpkeep: () => void this.#ballast.restore(),
      onCorrupt: () => {
        const noted = markIndexSuspect(dir);
        log.error("The index is damaged. It is checked at the next start", { index: dir, noted });
      },
      onClosed: async () => {
        stop.abort();
        const settled = await settling.promise;
        await this.#note({ bootId, state: "closed", settled, look: this.#files.look() });
      },
    });
    settling.resolve(this.#settle(bootId, stop.signal));
    const { created } = index;
    const setAside = this.#setAside;
    return { index, created, setAside, probeLater, shared, ballast: this.#ballast };
  }

  async #probe(): Promise<{ fault: string | undefined; probeLater: boolean }> {
    const { dir, log, probe } = this.#options;
    try {
      const result = await probe(dir);
      if (result !== "ok") return { fault: result.bad, probeLater: false };
      await this.#files.clearSuspect();
      return { fault: undefined, probeLater: false };
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      log.warning("The index could not be probed. It is opened without", { index: dir, error });
      return { fault: undefined, probeLater: true };
    }
  }

  /** Notes once that this life did not die of its index; whether it came to that. */
  async #settle(bootId: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#options.clock.sleep(SETTLED_MS, signal);
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
    await this.#note({ bootId, state: "open", settled: true, look: undefined });
    return true;
  }

  /** lock.mdb must be whole before LMDB maps it; the ballast makes room for it if need be. */
  async #makeLock(): Promise<void> {
    try {
      await this.#files.writeLock();
    } catch (error) {
      if (!(error instanceof MusicfsError) || error.code !== "full") throw error;
      if (this.#ballast.release() === 0) throw error;
      await this.#files.writeLock();
    }
  }

  #requireRoom(): void {
    const { dir } = this.#options;
    if (freeBytes(dir) >= CREATE_BYTES_MIN) return;
    if (this.#ballast.release() > 0 && freeBytes(dir) >= CREATE_BYTES_MIN) return;
    throw new MusicfsError(
      "full",
      `Cannot create the index in ${dir}: less than 1 MiB is free on its disk. Make room, or use ` +
        "another --cache-dir.",
      { op: "index.open", subject: dir },
    );
  }

  /** Without a note the next start probes: that costs time, and nothing else. */
  async #note(note: IndexNote): Promise<void> {
    try {
      await this.#files.writeNote(note);
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      this.#options.log.warning("The note about the index could not be written", { error });
    }
  }
}

async function readBootId(clock: Clock): Promise<string> {
  try {
    return (await Deno.readTextFile(BOOT_ID)).trim();
  } catch (error) {
    // Without /proc every start looks like one after a boot, and probes.
    if (error instanceof Deno.errors.NotFound) return String(clock.now());
    throw error;
  }
}

function freeBytes(dir: string): number {
  const status = statFilesystem(dir);
  return typeof status === "number" ? 0 : status.freeBytes;
}
