import { MusicfsError } from "../base/errors.ts";
import { libc, O_RDONLY, openFile, preadFully, statPath } from "../base/posix.ts";
import { HEADER_BYTES, headerFault, lastTransaction } from "./index_header.ts";
import { decodeNote, encodeNote, type FileLook, type IndexNote } from "./index_note.ts";

/** What LMDB makes of lock.mdb for 126 readers, in bytes. */
const LOCK_BYTES = 8272;

/** Damaged indexes that are kept beside the good one, for whoever wants to look. */
const SET_ASIDE_MAX = 2;

/** `S_IFMT` and the two kinds of file that matter here. */
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

/** The files of the index's folder, handled without LMDB. */
export class IndexFiles {
  readonly data: string;
  readonly #lock: string;
  readonly #note: string;
  readonly #suspect: string;

  constructor(readonly dir: string) {
    this.data = `${dir}/data.mdb`;
    this.#lock = `${dir}/lock.mdb`;
    this.#note = `${dir}/last_life.json`;
    this.#suspect = `${dir}/suspect`;
  }

  /** Makes the folder. Throws `invalid` if something else has its name. */
  async makeFolder(): Promise<void> {
    try {
      await Deno.mkdir(this.dir, { recursive: true, mode: 0o700 });
    } catch (error) {
      if (!isOneOf(error, [Deno.errors.AlreadyExists, Deno.errors.NotADirectory])) {
        throw failure(error, "create", this.dir);
      }
      throw new MusicfsError(
        "invalid",
        `Cannot open the index: "${this.dir}" is no folder. Remove it, or use another --cache-dir.`,
        { op: "index.open", subject: this.dir, cause: error },
      );
    }
  }

  /** Whether there is an index to be opened; else opening makes one. */
  exists(): boolean {
    const status = statPath(this.data);
    return typeof status !== "number" && status.size > 0;
  }

  /**
   * What is wrong with the files, as far as can be seen without mapping them.
   *
   * Throws `denied` or `unavailable` if they cannot be opened for writing: LMDB would crash.
   */
  async fault(): Promise<string | undefined> {
    for (const path of [this.data, this.#lock]) {
      const status = statPath(path);
      if (typeof status === "number") continue;
      if ((status.mode & S_IFMT) !== S_IFREG) return `${baseName(path)} is no regular file`;
    }
    await this.#requireAccess(this.#lock);
    const file = await this.#requireAccess(this.data);
    if (file === undefined) return undefined;
    const { header, size } = file;
    return headerFault(header, size);
  }

  /** Writes lock.mdb in full: LMDB maps it, and a hole in it on a full disk is a SIGBUS. */
  async writeLock(): Promise<void> {
    const status = statPath(this.#lock);
    if (typeof status !== "number" && status.size >= LOCK_BYTES && status.diskBytes >= LOCK_BYTES) {
      return;
    }
    try {
      using file = await Deno.open(this.#lock, { write: true, create: true, mode: 0o600 });
      await writeAll(file, new Uint8Array(LOCK_BYTES));
    } catch (error) {
      throw failure(error, "write", this.#lock);
    }
  }

  /** Renames the folder to `<dir>.corrupt-<time>`, keeps the newest few of those; the new name. */
  async setAside(nowMs: number): Promise<string> {
    const time = new Date(nowMs).toISOString().replaceAll(/[-:.]/g, "");
    let name = `${this.dir}.corrupt-${time}`;
    for (let i = 2; typeof statPath(name) !== "number"; i += 1) {
      name = `${this.dir}.corrupt-${time}-${i}`;
    }
    try {
      await Deno.rename(this.dir, name);
      await this.makeFolder();
    } catch (error) {
      throw error instanceof MusicfsError ? error : failure(error, "set aside", this.dir);
    }
    return name;
  }

  /** Deletes what was set aside longest ago. */
  async dropOldSetAside(): Promise<void> {
    const at = this.dir.lastIndexOf("/");
    const prefix = `${this.dir.slice(at + 1)}.corrupt-`;
    const folder = this.dir.slice(0, at) || "/";
    const names: string[] = [];
    for await (const { name } of Deno.readDir(folder)) {
      if (name.startsWith(prefix)) names.push(name);
    }
    for (const name of names.sort().slice(0, -SET_ASIDE_MAX)) {
      await Deno.remove(`${folder}/${name}`, { recursive: true });
    }
  }

  look(): FileLook | undefined {
    const status = statPath(this.data);
    if (typeof status === "number") return undefined;
    const { ino, size, ctimeNs } = status;
    const commit = this.#lastCommit();
    return {
      ino: String(ino),
      size,
      ctimeNs: String(ctimeNs),
      ...(commit === undefined ? {} : { commit: String(commit) }),
    };
  }

  #lastCommit(): bigint | undefined {
    const descriptor = openFile(this.data, O_RDONLY);
    if (descriptor < 0) return undefined;
    const header = new Uint8Array(HEADER_BYTES);
    const read = preadFully(descriptor, header, 0);
    libc.close(descriptor);
    return read < 0 ? undefined : lastTransaction(header.subarray(0, read));
  }

  async readNote(): Promise<IndexNote | undefined> {
    try {
      return decodeNote(await Deno.readTextFile(this.#note));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw failure(error, "read", this.#note);
    }
  }

  /** Replaces the note; where that fails there is none, so that the next start probes. */
  async writeNote(note: IndexNote): Promise<void> {
    const draft = `${this.#note}.tmp`;
    try {
      await Deno.writeTextFile(draft, encodeNote(note), { mode: 0o600 });
      await Deno.rename(draft, this.#note);
    } catch (error) {
      await removeIfThere(draft);
      await removeIfThere(this.#note);
      throw failure(error, "write", this.#note);
    }
  }

  isSuspect(): boolean {
    return typeof statPath(this.#suspect) !== "number";
  }

  async clearSuspect(): Promise<void> {
    await removeIfThere(this.#suspect);
  }

  /** The first bytes and the size of a file that can be opened for writing; undefined if none. */
  async #requireAccess(
    path: string,
  ): Promise<{ header: Uint8Array; size: number } | undefined> {
    try {
      using file = await Deno.open(path, { read: true, write: true });
      const { size } = await file.stat();
      const header = new Uint8Array(Math.min(size, HEADER_BYTES));
      let filled = 0;
      while (filled < header.length) {
        const count = await file.read(header.subarray(filled));
        if (count === null) break;
        filled += count;
      }
      return { header: header.subarray(0, filled), size };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw failure(error, "open", path);
    }
  }
}

/**
 * Makes the next start probe the index in `dir` before it opens it. For whoever finds damage, on
 * any thread; false if that could not be written down.
 */
export function markIndexSuspect(dir: string): boolean {
  try {
    Deno.writeTextFileSync(`${dir}/suspect`, "", { mode: 0o600 });
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

/** Whether the index in `dir` was found damaged, and waits for the next start. */
export function isIndexSuspect(dir: string): boolean {
  return new IndexFiles(dir).isSuspect();
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += await file.write(bytes.subarray(done));
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw failure(error, "remove", path);
  }
}

type ErrorClass = new (...parameters: never[]) => Error;

function isOneOf(error: unknown, classes: readonly ErrorClass[]): boolean {
  return classes.some((each) => error instanceof each);
}

/** An error of a file operation by what the caller can do about it. */
function failure(error: unknown, verb: string, path: string): MusicfsError {
  const reason = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error ? Reflect.get(error, "code") : undefined;
  const context = { op: "index.open", subject: path, cause: error };
  const what = `Cannot ${verb} "${path}"`;
  if (isOneOf(error, [Deno.errors.PermissionDenied, Deno.errors.NotCapable])) {
    const why = "no permission. Give this user the cache folder, or use another --cache-dir.";
    return new MusicfsError("denied", `${what}: ${why}`, context);
  }
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new MusicfsError("full", `${what}: the disk is full. Make room on it.`, context);
  }
  return new MusicfsError("unavailable", `${what}: ${reason}. Look at the cache disk.`, context);
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
