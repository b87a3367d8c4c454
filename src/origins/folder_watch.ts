import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import type { Log } from "../base/log.ts";
import {
  ENOSPC,
  IN_ATTRIB,
  IN_CREATE,
  IN_DELETE,
  IN_IGNORED,
  IN_ISDIR,
  IN_MODIFY,
  IN_MOVE_SELF,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  IN_Q_OVERFLOW,
  IN_UNMOUNT,
  Inotify,
  type InotifyEvent,
} from "./inotify.ts";
import { isLocalDisk } from "./local_disk.ts";

/** Events are taken at most this often, in ms: what is written comes in bursts. */
const TAKE_MS_MIN = 20;

/** Reads of the kernel's queue, of 64 KiB, in one turn of the event loop. */
const TAKES_MAX = 64;

/** Events of folders that are about to be watched that are kept; then they count as lost. */
const EARLY_EVENTS_MAX = 4_096;

/** A disk that does not answer within this time is taken for a network's, in ms. */
const STATFS_MS_MAX = 1_000;

/** That something may have changed in a folder. */
export interface FolderHint {
  /** Path below the root; "" is the root. */
  folder: string;
  /** Whether it was made or came here, so that all below it is new. */
  isNew: boolean;
  /** Whether a name went from it. */
  isGone: boolean;
  /** Whether a file in it is being written, and nothing else. */
  isGrowing: boolean;
  /** Whether a name went elsewhere from it, or came from elsewhere. */
  isMove: boolean;
}

/** Who is told of changes. */
export interface WatchListener {
  hint(hint: FolderHint): void;
  /** Changes happened of which nothing is known: only listing everything shows them. */
  lost(why: WatchLoss): void;
}

/** How changes are lost: too many at once, or the root, or a disk below it, went away. */
export type WatchLoss = "overflow" | "ended";

/**
 * `idle`: nothing was listed yet; `limited`: some folders cannot be watched, the kernel's limit is
 * reached; `polled`: on another machine's disk, which tells nothing; `failed`: no watch to be had.
 */
export type WatchState = "idle" | "watching" | "limited" | "polled" | "failed";

/** What a watch needs. */
export interface FolderWatchOptions {
  /** The origin's name, for the log. */
  name: string;
  /** Absolute. */
  root: string;
  /** Names whose changes are of no interest. */
  hidden: ReadonlySet<string>;
  /** Whether the disk with the root tells of all changes; default: whether it is this machine's. */
  isLocal?: (root: string) => Promise<boolean>;
  clock: Clock;
  log: Log;
}

/**
 * Watches the folders of a local origin: each from the moment before it is listed.
 *
 * In this order nothing falls between: what changes before is in the listing, what changes later
 * has an event. So there is no walk of its own, and a scan is what begins the watch. Every listing
 * puts the watch anew, for another folder may lie there by now.
 */
export class FolderWatch implements AsyncDisposable {
  readonly #options: FolderWatchOptions;
  /** Of each watch, its folder. Of a folder that came here from elsewhere, where it is now. */
  readonly #folders = new Map<number, string>();
  /** Of each folder, its watch. */
  readonly #watches = new Map<string, number>();
  /** Events whose watch has no folder yet: it is being put. */
  #early: InotifyEvent[] = [];
  #adding = 0;
  /** Watches that were ended while others were put: one of these may have been taken for its own. */
  readonly #forgotten = new Set<number>();
  #isLocal: Promise<boolean> | undefined;
  #inotify: Inotify | undefined;
  #taking: Promise<void> = Promise.resolve();
  readonly #stop = new AbortController();
  #isRefused = false;
  #state: WatchState = "idle";
  #listener: WatchListener | undefined;

  constructor(options: FolderWatchOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get state(): WatchState {
    return this.#state;
  }

  /** Folders that are watched now. */
  get folders(): number {
    return this.#folders.size;
  }

  /** Whether the next listing of a folder is the first one that is watched. */
  isAnew(folder: string): boolean {
    return this.#state !== "polled" && this.#state !== "failed" && !this.#watches.has(folder);
  }

  /** Tells `listener` from now on. What was listed before that is not vouched for. */
  listen(listener: WatchListener): void {
    this.#listener = listener;
  }

  /** Watches a folder, path below the root, that is about to be listed. Never throws. */
  async add(folder: string): Promise<void> {
    if (this.#stop.signal.aborted) return;
    if (folder === "") {
      this.#isLocal = undefined;
      this.#isRefused = false;
    }
    this.#isLocal ??= this.#askDisk();
    if (!await this.#isLocal) {
      this.#state = "polled";
      return;
    }
    const inotify = this.#inotify ??= this.#open();
    if (!inotify) return;
    this.#adding += 1;
    try {
      // With the slash the root may be a link; nothing below it may.
      const path = `${this.#options.root}/${folder}`;
      let watch = await inotify.add(path);
      while (this.#forgotten.has(watch)) watch = await inotify.add(path);
      if (inotify !== this.#inotify) return;
      if (watch >= 0) this.#added(watch, folder);
      else if (watch === -ENOSPC) this.#refused();
    } finally {
      this.#adding -= 1;
      if (this.#adding === 0) {
        this.#early = [];
        this.#forgotten.clear();
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new DOMException("musicfs is stopping", "AbortError"));
    await this.#inotify?.close();
    await this.#taking;
  }

  async #askDisk(): Promise<boolean> {
    const { root, isLocal = isLocalDisk, clock } = this.#options;
    return await within(isLocal(root), { ms: STATFS_MS_MAX, clock }) === true;
  }

  #open(): Inotify | undefined {
    const inotify = Inotify.open();
    if (typeof inotify === "number") {
      if (this.#state !== "failed") {
        this.#options.log.warning(
          "Changes are not watched: too many inotify instances. Raise fs.inotify.max_user_instances",
          { origin: this.name, errno: -inotify },
        );
      }
      this.#state = "failed";
      return undefined;
    }
    this.#taking = this.#taking.then(() => this.#take(inotify));
    return inotify;
  }

  #added(watch: number, folder: string): void {
    const before = this.#folders.get(watch);
    if (before !== undefined && before !== folder) this.#drop(watch, before);
    this.#folders.set(watch, folder);
    this.#watches.set(folder, watch);
    if (!this.#isRefused) this.#state = "watching";
    const early = this.#early.filter((event) => event.watch === watch);
    if (early.length === 0) return;
    this.#early = this.#early.filter((event) => event.watch !== watch);
    this.#tell(early);
  }

  /** The kernel has no watch left: what is not watched is found by the next scan. */
  #refused(): void {
    if (this.#isRefused) return;
    this.#isRefused = true;
    if (this.#state !== "limited") {
      this.#options.log.warning(
        "Not all folders are watched; changes in the others show after the poll interval. Raise " +
          "fs.inotify.max_user_watches",
        { origin: this.name, watched: this.#folders.size },
      );
    }
    this.#state = "limited";
  }

  /** Takes events as they come, until the instance is closed. */
  async #take(inotify: Inotify): Promise<void> {
    const { clock } = this.#options;
    while (!inotify.isClosed) {
      await inotify.ready();
      for (let takes = 0; takes < TAKES_MAX && !inotify.isClosed; takes += 1) {
        const events = [...inotify.take()];
        if (events.length === 0) break;
        this.#tell(events);
      }
      await clock.sleep(TAKE_MS_MIN, this.#stop.signal).catch(() => undefined);
    }
  }

  #tell(events: readonly InotifyEvent[]): void {
    const left = new Set<string>();
    for (const event of events) {
      const { watch, mask, name } = event;
      if (mask & IN_Q_OVERFLOW) this.#lose("overflow");
      const folder = this.#folders.get(watch);
      if (folder === undefined) this.#keepEarly(event);
      else if (mask & IN_IGNORED) this.#ignored(watch, folder);
      else if (mask & IN_MOVE_SELF) {
        if (folder === "") this.#end();
      } else if (mask & IN_UNMOUNT) this.#lose("ended");
      else if (!this.#options.hidden.has(name)) this.#hint(folder, event, left);
    }
    if (left.size > 0) this.#forget(left);
  }

  #hint(folder: string, { mask, name }: InotifyEvent, left: Set<string>): void {
    const isGone = (mask & (IN_DELETE | IN_MOVED_FROM)) !== 0;
    const isGrowing = (mask & IN_MODIFY) !== 0;
    const isMove = (mask & (IN_MOVED_FROM | IN_MOVED_TO)) !== 0;
    this.#listener?.hint({ folder, isNew: false, isGone, isGrowing, isMove });
    if (!(mask & IN_ISDIR) || name === "") return;
    const below = folder === "" ? name : `${folder}/${name}`;
    if (mask & IN_MOVED_FROM) left.add(below);
    const isNew = (mask & (IN_CREATE | IN_MOVED_TO)) !== 0;
    if (isNew || mask & IN_ATTRIB) {
      this.#listener?.hint({ folder: below, isNew, isGone: false, isGrowing: false, isMove });
    }
  }

  /** The watch of a folder that was just put may be ahead of our knowing its number. */
  #keepEarly(event: InotifyEvent): void {
    if (this.#adding === 0) return;
    if (this.#early.length < EARLY_EVENTS_MAX) this.#early.push(event);
    else this.#lose("overflow");
  }

  /** A folder is gone, or the disk it was on. */
  #ignored(watch: number, folder: string): void {
    this.#drop(watch, folder);
    if (folder === "") this.#end();
  }

  /**
   * Ends the watches of folders that went elsewhere, and of all below: they would tell of places
   * where these no longer are. If they are in the tree, they are listed there, and watched.
   */
  #forget(left: ReadonlySet<string>): void {
    for (const [watch, folder] of this.#folders) {
      if (!isAtOrBelow(folder, left)) continue;
      this.#inotify?.remove(watch);
      this.#drop(watch, folder);
      if (this.#adding > 0) this.#forgotten.add(watch);
    }
  }

  #drop(watch: number, folder: string): void {
    this.#folders.delete(watch);
    if (this.#watches.get(folder) === watch) this.#watches.delete(folder);
  }

  /** The root is gone, or is another folder: the watch begins anew when it is listed again. */
  #end(): void {
    const inotify = this.#inotify;
    this.#inotify = undefined;
    this.#isLocal = undefined;
    this.#folders.clear();
    this.#watches.clear();
    this.#early = [];
    this.#state = "idle";
    // Not awaited here: this is called by what it ends.
    inotify?.close().catch((error) => this.#options.log.error("Cannot end a watch", { error }));
    this.#lose("ended");
  }

  #lose(why: WatchLoss): void {
    this.#listener?.lost(why);
  }
}

function isAtOrBelow(path: string, folders: ReadonlySet<string>): boolean {
  for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) {
    if (folders.has(path.slice(0, end))) return true;
  }
  return false;
}
