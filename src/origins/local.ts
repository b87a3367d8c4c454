import { posix } from "node:path";
import type { ByteRange } from "../base/bytes.ts";
import { Limiter, orAborted } from "../base/concurrency.ts";
import type { Log } from "../base/log.ts";
import { libc, statPathWaiting } from "../base/posix.ts";
import { codeOf, localError } from "./local_errors.ts";
import { type FolderNames, type NameStatus, openFolder, readFolder } from "./local_folder.ts";
import { LocalRoot } from "./local_root.ts";
import { OpenFiles } from "./open_files.ts";
import type { CallOptions, Origin, OriginEntry, OriginFile } from "./origin.ts";
import { sizeTimeVersion } from "./size_time_version.ts";
import {
  canOpenBeneath,
  closeDescriptor,
  openBeneath,
  openPath,
  preadWaitingFully,
  sizeAndTime,
} from "./waiting_calls.ts";

/**
 * Calls under way on one origin's disk, those that were given up included. Deno's pool has 32
 * threads: two dead NAS leave some for everything else. 8 to 256 are equally fast on a local disk.
 */
const CALLS_MAX = 12;

/** An open may meet a rename on its way (EAGAIN, ESTALE); the next one seldom does. */
const OPEN_ATTEMPTS_MAX = 2;

const S_IFMT = 0o170000;
const KINDS: Readonly<Record<number, "file" | "folder" | "symlink">> = {
  0o100000: "file",
  0o040000: "folder",
  0o120000: "symlink",
};

/** What a local origin is made of. */
export interface LocalOriginOptions {
  log: Log;
  /** Whether the kernel keeps opens below the root; found out if it is left out. */
  beneath?: boolean;
}

/**
 * A folder of this machine: a disk of its own, or whatever is mounted there.
 *
 * Nothing here blocks the main thread, and a call is left at once when its signal says so; the
 * system call then ends alone, on its thread.
 */
export class LocalOrigin implements Origin, AsyncDisposable {
  readonly #root: LocalRoot;
  readonly #log: Log;
  readonly #calls = new Limiter(CALLS_MAX);
  readonly #files = new OpenFiles((file) => this.#open(file));
  readonly #beneath: boolean;
  /** Whether names that are not UTF-8 were logged since the root was last listed. */
  #told = false;

  constructor(readonly name: string, root: string, options: LocalOriginOptions) {
    this.#root = new LocalRoot(root);
    this.#log = options.log;
    this.#beneath = options.beneath ?? canOpenBeneath();
  }

  /** Takes note of the root and its disk; one that is not there may come later. */
  static async open(name: string, root: string, options: LocalOriginOptions): Promise<LocalOrigin> {
    const origin = new LocalOrigin(name, root, options);
    await origin.#root.check("local.open").catch((error: unknown) => {
      options.log.debug("The origin's folder cannot be read yet", { origin: name, error });
    });
    return origin;
  }

  /** The folder, as it was configured. */
  get root(): string {
    return this.#root.path;
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    options.signal.throwIfAborted();
    yield* await orAborted(this.#list(folder, options), options.signal);
  }

  async stat(path: string, { signal }: CallOptions): Promise<OriginEntry> {
    return await this.#call(signal, async () => {
      const op = "local.stat";
      if (path !== "") await this.#root.enter(posix.dirname(path).replace(/^\.$/, ""), op);
      else await this.#root.check(op);
      const entry = await this.#describe(path, op);
      if (entry) return entry;
      throw await this.#root.explain("not_found", path, { op });
    });
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    { signal }: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (range.offset < 0 || range.offset + range.length > file.size) {
      throw localError("invalid", file.path, {
        op: "local.read",
        reason: `bytes ${range.offset} to ${range.offset + range.length} are not in its ` +
          `${file.size} bytes`,
      });
    }
    return await this.#call(signal, () =>
      this.#files.with(file, async (descriptor) => {
        const bytes = new Uint8Array(range.length);
        const done = await preadWaitingFully(descriptor, bytes, range.offset);
        if (done === undefined) throw localError("unavailable", file.path, { op: "local.read" });
        await this.#verify(descriptor, file);
        if (done < range.length) throw localError("changed", file.path, { op: "local.read" });
        return bytes;
      }));
  }

  /**
   * Opens this version of the file and keeps it open for a while, so that it can still be read
   * after another has taken its place. Throws as `read` does.
   */
  async hold(file: OriginFile, { signal }: CallOptions): Promise<void> {
    await this.#call(
      signal,
      () => this.#files.with(file, (descriptor) => this.#verify(descriptor, file)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files[Symbol.asyncDispose]();
  }

  /** Runs `call` when the disk has room for it; a call that was given up keeps its place. */
  async #call<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    return await orAborted(this.#calls.run(call, signal), signal);
  }

  async #list(folder: string, { signal, onProgress }: CallOptions): Promise<OriginEntry[]> {
    const op = "local.list";
    const options = { signal, onProgress };
    const found = await this.#calls.run(() => this.#names(folder, options), signal);
    const { names, statuses, notUtf8 } = found;
    if (folder === "") this.#told = false;
    const prefix = folder === "" ? "" : `${folder}/`;
    const entries: OriginEntry[] = [];
    const later: string[] = [];
    for (const [i, name] of names.entries()) {
      const status = statuses[i];
      const kind = status && KINDS[status.mode & S_IFMT];
      if (!status || kind === "symlink") later.push(prefix + name);
      else if (kind) entries.push(plainEntry(prefix + name, kind, status));
    }
    const lost = await this.#describeAll(later, entries, options);
    // Names vanish one by one, or all together when the disk is unmounted.
    if (folder === "" || lost > 0) await this.#root.check(op);
    if (notUtf8 > 0 && !this.#told) {
      this.#told = true;
      const fields = { origin: this.name, folder, names: notUtf8 };
      this.#log.warning("Skipped names that are not UTF-8; rename them at the origin", fields);
    }
    return entries;
  }

  /** Adds what the disk says of each path; the number of those that are not there. */
  async #describeAll(
    paths: readonly string[],
    entries: OriginEntry[],
    { signal, onProgress }: CallOptions,
  ): Promise<number> {
    let lost = 0;
    let next = 0;
    const describeNext = async (): Promise<void> => {
      for (let path = paths[next++]; path !== undefined; path = paths[next++]) {
        // The caller has left by then; a listener for each of 100,000 names would cost more.
        signal.throwIfAborted();
        const known = path;
        const entry = await this.#calls.run(() =>
          this.#describe(known, "local.list", () => lost += 1)
        );
        if (entry) entries.push(entry);
        onProgress?.();
      }
    };
    const workers = Math.min(CALLS_MAX, paths.length);
    await Promise.all(Array.from({ length: workers }, describeNext));
    return lost;
  }

  async #names(folder: string, options: CallOptions): Promise<FolderNames> {
    const op = "local.list";
    const disk = this.#root.localDisk;
    const descriptor = await this.#openFolder(folder, op);
    try {
      const found = await readFolder(descriptor, { ...options, disk });
      if (found) return found;
    } finally {
      // Nothing is written back: on a disk of this machine there is nothing to wait for.
      if (disk === undefined) await closeDescriptor(descriptor);
      else libc.close(descriptor);
    }
    throw await this.#root.explain("unavailable", folder, { op });
  }

  /** Opens a folder that is really where it seems: no part of its path is a link. */
  async #openFolder(folder: string, op: string): Promise<number> {
    const direct = this.#beneath ? this.#root.joinReal(folder) : undefined;
    const opened = direct === undefined ? undefined : await openFolder(direct);
    if (opened !== undefined) return opened;
    const path = await this.#root.enter(folder, op);
    const descriptor = await openPath(path, { isFolder: true });
    if (descriptor !== undefined) return descriptor;
    try {
      for await (const _ of Deno.readDir(path)) break;
    } catch (error) {
      if (folder !== "" && isNotAFolder(error)) {
        throw localError("invalid", folder, { op, reason: "it is not a folder", cause: error });
      }
      throw await this.#root.explain(codeOf(error), folder, { op, cause: error });
    }
    throw await this.#root.explain("unavailable", folder, { op });
  }

  /** What lies at `path`; undefined if nothing is there (then `onLost` is told) or to be shown. */
  async #describe(
    path: string,
    op: string,
    onLost?: () => void,
  ): Promise<OriginEntry | undefined> {
    const full = this.#root.join(path);
    const status = await statPathWaiting(full) ?? await this.#statAgain(path, op);
    if (!status) {
      onLost?.();
      return undefined;
    }
    const kind = KINDS[status.mode & S_IFMT];
    if (kind === undefined) return undefined;
    if (kind !== "symlink") return plainEntry(path, kind, status);
    const target = await this.#root.linkTarget(path);
    if (target === undefined) return undefined;
    return { path, kind, size: 0, mtimeNs: status.mtimeNs, version: "", target };
  }

  /** Tells a missing name (undefined) from a disk that refused, which throws. */
  async #statAgain(path: string, op: string): Promise<NameStatus | undefined> {
    try {
      await Deno.lstat(this.#root.join(path));
    } catch (error) {
      const code = codeOf(error);
      if (code === "not_found") return undefined;
      throw await this.#root.explain(code, path, { op, cause: error });
    }
    const status = await statPathWaiting(this.#root.join(path));
    if (status) return status;
    throw localError("unavailable", path, { op });
  }

  async #open(file: OriginFile): Promise<number> {
    for (let attempt = 1; attempt <= OPEN_ATTEMPTS_MAX; attempt += 1) {
      const descriptor = this.#beneath
        ? await openBeneath(this.#root.path, this.#root.relative(file.path))
        : await this.#openInside(file.path);
      if (descriptor === undefined) continue;
      try {
        await this.#verify(descriptor, file);
        return descriptor;
      } catch (error) {
        await closeDescriptor(descriptor);
        throw error;
      }
    }
    throw await this.#whyNotOpened(file.path);
  }

  /** For kernels without openat2: where the descriptor really lies is looked up after the open. */
  async #openInside(path: string): Promise<number | undefined> {
    const descriptor = await openPath(this.#root.join(path));
    if (descriptor === undefined) return undefined;
    if (await this.#root.holds(`/proc/self/fd/${descriptor}`)) return descriptor;
    await closeDescriptor(descriptor);
    return undefined;
  }

  async #verify(descriptor: number, file: OriginFile): Promise<void> {
    const now = await sizeAndTime(descriptor);
    if (now && sizeTimeVersion(now.size, now.mtimeNs) === file.version) return;
    throw localError("changed", file.path, { op: "local.read" });
  }

  async #whyNotOpened(path: string): Promise<Error> {
    const op = "local.read";
    const full = this.#root.join(path);
    try {
      const status = await Deno.lstat(full);
      if (!status.isFile) {
        return localError("changed", path, { op, reason: "it is no longer a file" });
      }
      (await Deno.open(full)).close();
      if (await this.#root.holds(full)) return localError("unavailable", path, { op });
      return localError("denied", path, { op, reason: "a link on its way leaves the origin" });
    } catch (error) {
      return await this.#root.explain(codeOf(error), path, { op, cause: error });
    }
  }
}

function plainEntry(
  path: string,
  kind: "file" | "folder",
  { size, mtimeNs }: NameStatus,
): OriginEntry {
  if (kind === "folder") return { path, kind, size: 0, mtimeNs, version: "", target: "" };
  return { path, kind, size, mtimeNs, version: sizeTimeVersion(size, mtimeNs), target: "" };
}

function isNotAFolder(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOTDIR";
}
