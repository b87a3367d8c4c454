import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Observation } from "./health.ts";
import type { CallOptions, Origin, OriginEntry, OriginFile } from "./origin.ts";

/** Who is told of what calls show. */
export interface Observer {
  clock: Clock;
  /** `error` is what was thrown, where something was. */
  onSeen: (seen: Observation, error?: unknown) => void;
  /** A single path was denied: it may be that path, or all of them by now. */
  onRefused: () => void;
}

/** When a call began and was judged, and what it was about; ms of a monotonic clock. */
interface Call {
  path: string;
  startedMs: number;
  nowMs: number;
}

/**
 * Tells what every call shows of its origin's health. A call that its caller gave up shows nothing.
 */
export class Watching implements Origin {
  readonly #observer: Observer;

  readonly listTree?: NonNullable<Origin["listTree"]>;

  constructor(readonly inner: Origin, observer: Observer) {
    this.#observer = observer;
    const { listTree } = inner;
    if (listTree) {
      this.listTree = (cursor, options) =>
        this.#watch((seen) => listTree.call(inner, cursor, seen), options);
    }
  }

  get name(): string {
    return this.inner.name;
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    const sight = new Sight(folder, { observer: this.#observer, options });
    try {
      for await (const entry of this.inner.list(folder, sight.options)) {
        sight.progress();
        yield entry;
      }
    } catch (error) {
      sight.threw(error);
      throw error;
    }
    sight.answered();
  }

  async #watch<T>(
    call: (options: CallOptions) => Promise<T>,
    options: CallOptions,
  ): Promise<T> {
    const sight = new Sight("", { observer: this.#observer, options });
    try {
      const result = await call(sight.options);
      sight.answered();
      return result;
    } catch (error) {
      if (!(error instanceof MusicfsError && error.code === "invalid")) sight.threw(error);
      throw error;
    }
  }

  async stat(path: string, options: CallOptions): Promise<OriginEntry> {
    const sight = new Sight(path, { observer: this.#observer, options });
    try {
      const entry = await this.inner.stat(path, sight.options);
      sight.answered();
      return entry;
    } catch (error) {
      sight.threw(error);
      throw error;
    }
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const sight = new Sight(file.path, { observer: this.#observer, options });
    try {
      const bytes = await this.inner.read(file, range, sight.options);
      sight.answered();
      return bytes;
    } catch (error) {
      sight.threw(error);
      throw error;
    }
  }
}

/** One call as the observer sees it. */
class Sight {
  readonly options: CallOptions;
  readonly #path: string;
  readonly #observer: Observer;
  readonly #startedMs: number;
  #firstMs: number | undefined;

  constructor(path: string, { observer, options }: { observer: Observer; options: CallOptions }) {
    this.#path = path;
    this.#observer = observer;
    this.#startedMs = observer.clock.monotonic();
    const onProgress = (): void => {
      this.progress();
      options.onProgress?.();
    };
    this.options = { ...options, onProgress };
  }

  progress(): void {
    this.#firstMs ??= this.#observer.clock.monotonic();
  }

  answered(): void {
    const nowMs = this.#observer.clock.monotonic();
    const startedMs = this.#startedMs;
    const latencyMs = (this.#firstMs ?? nowMs) - startedMs;
    this.#observer.onSeen({ kind: "answered", latencyMs, startedMs, nowMs });
  }

  threw(error: unknown): void {
    if (this.options.signal.aborted) return;
    const nowMs = this.#observer.clock.monotonic();
    const call = { path: this.#path, startedMs: this.#startedMs, nowMs };
    const seen = observationOf(error, call);
    if (!seen) this.#observer.onRefused();
    else if (seen.kind === "answered") this.#observer.onSeen(seen);
    else this.#observer.onSeen(seen, error);
  }
}

/**
 * What an error shows of an origin's health; undefined if that must be found out first.
 *
 * That there is no such file, or another one now, is an answer. The root is another matter: an
 * origin without its root is as good as none, and one that refuses it refuses everything.
 */
export function observationOf(
  error: unknown,
  { path, startedMs, nowMs }: Call,
): Observation | undefined {
  const message = error instanceof Error ? error.message : String(error);
  const failed = { kind: "failed", message, startedMs, nowMs } as const;
  if (!(error instanceof MusicfsError) || error.retryable) return failed;
  if (error.code === "denied") {
    return path === "" ? { kind: "denied", message, startedMs, nowMs } : undefined;
  }
  if (path === "") return failed;
  return { kind: "answered", latencyMs: nowMs - startedMs, startedMs, nowMs };
}
