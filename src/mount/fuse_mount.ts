import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import type { Histogram } from "../base/histogram.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { mountFuse, unmountFuse } from "../fuse/device.ts";
import type { Negotiated } from "../fuse/negotiation.ts";
import { invalidateAttributes, invalidateEntry, invalidateNode, Notifier } from "../fuse/notify.ts";
import { Operations } from "../fuse/operations.ts";
import { type Presentation, Reply } from "../fuse/reply.ts";
import type { FolderChange } from "../library/folder_change.ts";
import { nodeIdOf } from "../library/node_id.ts";
import type { Cache } from "./cache.ts";
import { DeferredRequests } from "./deferred_requests.ts";
import { musicfsMountAt } from "./mount_table.ts";
import { OutageFiles } from "./outage_files.ts";
import { type ServingMessage, ServingWorker } from "./serving_worker.ts";
import { SharedCounters } from "./shared_counters.ts";
import type { Heritage } from "./takeover.ts";
import type { WorkerStart } from "./worker_messages.ts";

/** How long an unmount is tried before the mount is detached under its open files, in ms. */
const BUSY_MS_MAX = 3_000;
const BUSY_RETRY_MS = 100;

/** The worker must load, open the index and agree with the kernel within this time. */
const START_MS_MAX = 30_000;

/** Longest wait for the first request through the mount, in ms. */
const ASK_MS_MAX = 2_000;

/** How a mount is made. */
export interface FuseMountOptions {
  /** From `loadFuseWorker`, and its from then on. */
  worker: Worker;
  cache: Cache;
  mountpoint: string;
  /** Of the user who mounts. */
  uid: number;
  gid: number;
  allowOther: boolean;
  presentation: Presentation;
  cacheFolders: boolean;
  directRoots: readonly { origin: string; root: string }[];
  passthrough: boolean;
  /** Bytes that the kernel may read ahead of a reader. */
  readAheadBytes: number;
  /** Told when a file that is read through the cache is opened. */
  opened: (version: number) => void;
  /** From 1 to 2^20. */
  nonce: number;
  /** What a predecessor left: its mount is gone on with. */
  heritage: Heritage | undefined;
  /** `MUSICFS_FAILPOINTS`, for tests. */
  failpoints: WorkerStart["failpoints"];
  clock: Clock;
  log: Log;
}

/**
 * A mount, the worker that serves it, and the main thread's share in serving.
 *
 * `start` returns when the kernel and the daemon have agreed (INIT) and requests are answered.
 */
export class FuseMount {
  readonly counters: SharedCounters = new SharedCounters();
  readonly #options: FuseMountOptions;
  readonly #worker: ServingWorker;
  #isDeaf = false;
  readonly #requests: DeferredRequests;
  readonly #notifier: Notifier;
  /** Folders of changes that the kernel has yet to be told. */
  readonly #untold = new Tally();

  private constructor(options: FuseMountOptions, readonly descriptor: number) {
    this.#options = options;
    const { cache, presentation, heritage, clock, log } = options;
    const reply = new Reply(presentation);
    const operations = new Operations({
      namespace: cache.namespace,
      files: new OutageFiles(cache.namespace, {
        // A predecessor may have let the kernel read files itself that we would not.
        passthrough: heritage?.session.agreed.passthrough ?? options.passthrough,
      }),
      reply,
      cacheFolders: options.cacheFolders,
      answersUnlisted: true,
    });
    this.#requests = new DeferredRequests({ ...cache, descriptor, operations, reply, clock, log });
    this.#notifier = new Notifier(descriptor);
    cache.space.onEvict(() => {
      this.counters.evictions += 1;
    });
    this.#worker = new ServingWorker({
      worker: options.worker,
      start: this.#start(),
      counters: this.counters,
      hear: (message) => this.#hear(message),
      clock,
      log,
    });
  }

  /**
   * Mounts, or goes on with a predecessor's mount, and begins to serve. Throws `denied` if it cannot
   * be mounted; nothing is left then, but what was taken over stays.
   */
  static async start(options: FuseMountOptions): Promise<FuseMount> {
    const { heritage, clock, mountpoint, uid } = options;
    const mount = new FuseMount(options, heritage?.descriptor ?? await mountFuse(options));
    const timer = new AbortController();
    try {
      await Promise.race([mount.agreed, startTimeout(clock, timer.signal)]);
      if (!heritage) await askForRoot(options);
      return mount;
    } catch (error) {
      if (!heritage) await unmountFuse(mountpoint, { uid, detach: true });
      throw error;
    } finally {
      timer.abort();
    }
  }

  /** The errno that ended the session, once it has: `ENODEV` after an unmount. */
  get ended(): Promise<number> {
    return this.#worker.ended;
  }

  get agreed(): Promise<Negotiated> {
    return this.#worker.agreed;
  }

  /** Requests that wait for an origin. */
  get waiting(): number {
    return this.#requests.waiting;
  }

  /** READs that the main thread answered, and how many of them with an error. */
  get deferredReads(): { durations: Histogram; failed: number } {
    return { durations: this.#requests.reads, failed: this.#requests.failedReads };
  }

  /** Changes that the kernel has not been told of yet. */
  get untold(): number {
    return this.#notifier.queued;
  }

  /**
   * Makes the kernel forget what changed, in the background, and notes in the library that it did.
   *
   * A node whose version is no longer current keeps its pages: they are right for who has it open.
   */
  tell(changes: readonly FolderChange[]): void {
    if (this.#worker.isOver) return;
    const { cache, log } = this.#options;
    const messages = function* (): Iterable<Uint8Array<ArrayBuffer>> {
      for (const { folder, names, nodes } of changes) {
        const folderNode = nodeIdOf(folder, 0);
        yield invalidateNode(folderNode);
        for (const name of names) yield invalidateEntry(folderNode, name);
        for (const node of nodes) {
          if (node !== folderNode) yield invalidateAttributes(node);
        }
      }
    };
    for (const { folder } of changes) this.#untold.add(folder);
    this.#notifier.send(messages()).then(() => {
      // A folder that changed again meanwhile is still owed that.
      cache.library.settled(
        changes.map(({ folder }) => folder).filter((folder) => this.#untold.remove(folder)),
      );
    }).catch((error) => log.error("The kernel was not told of changes", { error }));
  }

  /** Makes the kernel forget the bytes of a version, in the background: they may be wrong. */
  forgetBytes(version: number): void {
    if (this.#worker.isOver) return;
    this.#notifier.send([invalidateNode(version)]).catch((error) =>
      this.#options.log.error("The kernel was not told of wrong bytes", { version, error })
    );
  }

  /** Waits for the readers' requests, at most `limitMs`, and answers `EIO` to those left over. */
  async drain(limitMs: number): Promise<void> {
    await within(this.#requests.drained(), { ms: limitMs, clock: this.#options.clock });
    await this.#requests.stop();
  }

  /** Unmounts; while files are open at first politely, then under them. */
  async unmount(): Promise<void> {
    const { mountpoint, uid, clock } = this.#options;
    const until = clock.monotonic() + BUSY_MS_MAX;
    while (!this.#worker.isOver && musicfsMountAt(mountpoint)) {
      const detach = clock.monotonic() >= until;
      if (await unmountFuse(mountpoint, { uid, detach }) || detach) break;
      await clock.sleep(BUSY_RETRY_MS);
    }
    this.#isDeaf = true;
  }

  /**
   * Leaves all that is not answered yet to a successor, who asks the kernel for it again: from now on
   * the main thread answers nothing more.
   */
  async leave(limitMs: number): Promise<void> {
    await within(this.#requests.drained(), { ms: limitMs, clock: this.#options.clock });
    this.#requests.fallSilent();
    this.#isDeaf = true;
  }

  #start(): WorkerStart {
    const { cache, presentation, cacheFolders, directRoots } = this.#options;
    const { passthrough, readAheadBytes, nonce, heritage, failpoints } = this.#options;
    return {
      descriptor: this.descriptor,
      cacheDir: cache.config.cacheDir,
      shared: cache.opened.shared,
      counters: this.counters.buffer,
      presentation,
      hash: cache.config.hash,
      cacheFolders,
      directRoots,
      passthrough,
      readAheadBytes,
      nonce,
      resumed: heritage?.session.agreed,
      failpoints,
    };
  }

  #hear(message: ServingMessage): void {
    // On a busy machine what the worker said last arrives when the index is closed.
    if (this.#isDeaf) return;
    const { cache, log } = this.#options;
    switch (message.type) {
      case "deferred":
        return this.#requests.accept(message.request);
      case "elsewhere":
        return this.#requests.wentElsewhere(message.handle);
      case "interrupted":
        return this.#requests.interrupt(message.uniqueLow, message.uniqueHigh);
      case "opened":
        return this.#options.opened(message.version);
      case "released":
        return this.#requests.released(message.handle, message.version);
      case "report":
        return cache.reader.noteUses(message.uses);
      case "failed":
        return log.error("A request failed", { opcode: message.opcode, error: message.error });
    }
  }
}

/** How often each number was added and not removed. */
class Tally {
  readonly #counts = new Map<number, number>();

  add(key: number): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  /** Whether that was the last. */
  remove(key: number): boolean {
    const left = (this.#counts.get(key) ?? 1) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
    return left <= 0;
  }
}

/**
 * Has the kernel ask for the root's attributes once, before it is told of any change.
 *
 * `fusermount3` mounts with a root that nobody may enter until then, and the kernel drops an answer
 * that a notification overtakes: the first reader would get `EACCES` (seen in 2 of 60 mounts). It
 * takes a process of its own, because no thread of ours may wait for its own mount.
 */
async function askForRoot({ mountpoint, clock, log }: FuseMountOptions): Promise<void> {
  try {
    const child = new Deno.Command("stat", {
      args: ["--", mountpoint],
      cwd: "/",
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    child.unref();
    const status = await within(child.status, { ms: ASK_MS_MAX, clock });
    if (!status?.success) log.debug("The root did not answer at once", { mountpoint });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function startTimeout(clock: Clock, signal: AbortSignal): Promise<never> {
  await clock.sleep(START_MS_MAX, signal);
  throw new MusicfsError("timed_out", "Cannot mount: the kernel sent no request within 30 s", {
    op: "fuse.start",
    subject: "/dev/fuse",
  });
}
