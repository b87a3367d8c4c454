import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { FileVersion } from "../store/file_version.ts";
import { type Bring, bringAhead } from "./bring_ahead.ts";
import { type FilesAfter, ScanAhead } from "./scan_ahead.ts";
import { tagRegions } from "./tag_regions.ts";
import type { TailAhead } from "./tail_ahead.ts";

/** Bytes on their way ahead of a scan at most. */
const BYTES_MAX = 2 * 1024 * 1024;

/** Least size of a file that a scan is followed by, in bytes: a smaller one would be fetched whole. */
const FILE_BYTES_MIN = 1024 * 1024;

/** What `ScanPrefetch` works with. */
export interface ScanPrefetchOptions {
  /** Node ids of the files after one, in either order. */
  after: FilesAfter;
  clock: Clock;
  /** The version that an id names; undefined if there is none (any more). */
  describe: (id: number) => FileVersion | undefined;
  /** Whether nothing of a range must be fetched. */
  isHere: (version: FileVersion, range: ByteRange) => boolean;
  bring: Bring;
  /** Whether something is fetched ahead of players, which comes first. */
  isBusy: () => boolean;
  /** Knows whether tails are read too. */
  tails: TailAhead;
  log: Log;
}

/** Fetches heads, and tails if that is the habit, ahead of whoever goes through a library. */
export class ScanPrefetch implements AsyncDisposable {
  readonly #options: ScanPrefetchOptions;
  readonly #scan: ScanAhead;
  readonly #tasks = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #bytes = 0;

  constructor(options: ScanPrefetchOptions) {
    this.#options = options;
    this.#scan = new ScanAhead(options.after);
  }

  /** Notes a reader's read; `isCold` if not all of it was here. */
  read({ id, size }: FileVersion, range: ByteRange, isCold: boolean): void {
    const { clock } = this.#options;
    if (size >= FILE_BYTES_MIN && isCold && range.offset < tagRegions(size).headEnd) {
      this.#safely(() => this.#scan.headRead(id, range, clock.monotonic()));
    }
    this.#scan.read(id, range);
    this.pump();
  }

  /** Notes that bytes of a file were read without passing here. */
  passed(id: number, range: ByteRange): void {
    this.#scan.passed(id, range);
  }

  /** Notes that a file was opened. */
  opened(id: number): void {
    this.#options.tails.headDone(id);
    this.#safely(() => this.#scan.opened(id, this.#options.clock.monotonic()));
    this.pump();
  }

  /** Begins to fetch what there is room for. */
  pump(): void {
    while (!this.#closed && this.#bytes < BYTES_MAX && !this.#options.isBusy()) {
      const version = this.#safely(() => this.#next());
      if (!version) return;
      this.#begin(version);
    }
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(
      new MusicfsError("unavailable", "Nothing is fetched ahead any more: musicfs is stopping", {
        op: "reader.scan",
        subject: "scan",
      }),
    );
    await this.idle();
  }

  get #closed(): boolean {
    return this.#stop.signal.aborted;
  }

  #next(): FileVersion | undefined {
    let found: FileVersion | undefined;
    this.#scan.next((id) => {
      const version = this.#options.describe(id);
      found = version && this.#isWorthwhile(version) ? version : undefined;
      return found === undefined;
    });
    return found;
  }

  #isWorthwhile(version: FileVersion): boolean {
    return version.size >= FILE_BYTES_MIN &&
      !this.#options.isHere(version, this.#headOf(version));
  }

  #headOf({ size }: FileVersion): ByteRange {
    return { offset: 0, length: Math.min(size, this.#scan.headBytes) };
  }

  #begin(version: FileVersion): void {
    const head = this.#headOf(version);
    const tail = this.#options.tails.headRead(version, head, { isAhead: true });
    const options = { ...this.#options, signal: this.#stop.signal, isBackground: true };
    for (const range of tail ? [head, tail] : [head]) {
      this.#bytes += range.length;
      const task = bringAhead({ version, range }, options).then(() => {
        this.#bytes -= range.length;
        this.#tasks.delete(task);
        this.pump();
      });
      this.#tasks.add(task);
    }
  }

  /** Nothing about what is fetched ahead may end a read. */
  #safely<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      this.#options.log.error("Cannot tell which files come next", { error });
      return undefined;
    }
  }
}
