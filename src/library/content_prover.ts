import type { Clock } from "../base/clock.ts";
import { Limiter } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Origin } from "../origins/origin.ts";
import type { Index } from "../store/index.ts";
import type { Committer } from "./committer.ts";
import type { Entry, EntrySource } from "./entry.ts";
import { compareContents } from "./federation.ts";
import type { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { Probes } from "./probes.ts";

/** Bytes hashed at a file's head, and as many at its tail. Source: the contract, "Origins". */
export const PROBE_BYTES = 16 * 1024;

/** Files that are probed at once. */
const FILES_MAX = 4;

/** Files taken from the table at once. */
const BATCH_MAX = 64;

/** Failures in a row after which an origin is left alone until the next round. */
const FAILURES_MAX = 3;

/** Least and longest rest between two rounds when something is left, in ms. */
const REST_MS_MIN = 1_000;
const REST_MS_MAX = 10 * 60_000;

/** A round over what is left takes at most this share of the time. */
const ROUND_SHARE = 1 / 20;

/** Hashes the bytes of a probe; always the same function, for its hashes are kept. */
export type ProbeDigest = (bytes: Uint8Array<ArrayBuffer>) => Uint8Array;

/** How far the proofs have come, in files. */
export interface ProveProgress {
  /** Since the start: found to be the same everywhere, and found to differ somewhere. */
  equal: number;
  different: number;
  /** Yet to be compared. */
  left: number;
}

/** What a prover works on. */
export interface ContentProverParts {
  index: Index;
  namespace: Namespace;
  committer: Committer;
  /** Whether it is known to be down, nothing is asked of it. */
  isUp: (origin: string) => boolean;
  clock: Clock;
  log: Log;
}

/** How contents are compared. */
export interface ProveOptions {
  digest: ProbeDigest;
  /** What is read from; each is asked for 32 KiB of a file, in the background. */
  origins: readonly Origin[];
  onProgress?: ((progress: ProveProgress) => void) | undefined;
  signal: AbortSignal;
}

/** One round over the files that are left. */
interface Round extends ProveOptions {
  byName: ReadonlyMap<string, Origin>;
  /** Failures in a row, by origin. */
  failures: Map<string, number>;
}

/**
 * Finds out which sources of a file hold the same bytes, by hashing head and tail of each.
 *
 * Goes by the table `unproven`, which every change of a file's sources keeps up to date: what is
 * there already need not be looked for, and what an origin that is down leaves over is still there
 * when it is back. Each source is probed once, however many it is compared with.
 */
export class ContentProver {
  readonly #parts: ContentProverParts;
  readonly #probes: Probes;
  #wake = Promise.withResolvers<void>();
  #isHurried = false;
  #equal = 0;
  #different = 0;

  constructor(parts: ContentProverParts) {
    this.#parts = parts;
    this.#probes = new Probes(parts.index);
  }

  /** There is something to compare; with `now`, an origin is back that it waited for. */
  wake({ now = false }: { now?: boolean } = {}): void {
    this.#isHurried ||= now;
    this.#wake.resolve();
  }

  /** Compares what there is to compare until the signal ends it, and then throws its reason. */
  async run(options: ProveOptions): Promise<never> {
    const { clock } = this.#parts;
    const byName = new Map(options.origins.map((origin) => [origin.name, origin]));
    for (;;) {
      this.#wake = Promise.withResolvers();
      this.#isHurried = false;
      const began = clock.monotonic();
      await this.#round({ ...options, byName, failures: new Map() });
      await this.#rest((clock.monotonic() - began) / ROUND_SHARE, options.signal);
    }
  }

  /** Waits until there is something to do, and a while longer if a round is dear. */
  async #rest(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    signal.throwIfAborted();
    const timer = new AbortController();
    const ended = AbortSignal.any([signal, timer.signal]);
    const left = this.#probes.owed > 0;
    const late = left ? clock.sleep(REST_MS_MAX, ended) : untilAborted(ended);
    late.catch(() => {/* It was woken before. */});
    await Promise.race([this.#wake.promise, late]).finally(() => timer.abort());
    if (!this.#isHurried) {
      await clock.sleep(Math.min(Math.max(REST_MS_MIN, ms), REST_MS_MAX), signal);
    }
  }

  async #round(round: Round): Promise<void> {
    const limiter = new Limiter(FILES_MAX);
    let after = 0;
    for (let more = true; more;) {
      round.signal.throwIfAborted();
      const ids = Iterator.from(this.#probes.unproven(after)).take(BATCH_MAX).toArray();
      const commits: Promise<void>[] = [];
      const work = ids.map((id) =>
        limiter.run(async () => {
          for (const commit of await this.#prove(id, round)) commits.push(commit);
        })
      );
      await Promise.all(work);
      this.#parts.committer.flush();
      await Promise.all(commits);
      round.onProgress?.({
        equal: this.#equal,
        different: this.#different,
        left: this.#probes.owed,
      });
      after = ids.at(-1) ?? after;
      more = ids.length === BATCH_MAX;
      await nextTurn();
    }
  }

  /** Probes what there is to probe in one entry; the commits of what was found. */
  async #prove(id: number, round: Round): Promise<Promise<void>[]> {
    const { committer, namespace } = this.#parts;
    const entry = namespace.entry(id);
    if (entry === undefined || this.#lacking(entry).length === 0) {
      return [committer.commit((edit) => edit.rejudge(id), { weight: 1, urgent: false })];
    }
    const path = namespace.pathOf(id);
    const probes = this.#lacking(entry).map(async (source) => {
      const hash = await this.#probe(source, { path, round });
      return hash && { source, hash };
    });
    const found = (await Promise.all(probes)).filter((probe) => probe !== undefined);
    if (found.length === 0) return [];
    const commit = committer.commit((edit) => {
      for (const probe of found) edit.probed(id, probe);
    }, { weight: found.length, urgent: false });
    return [commit.then(() => this.#count(id))];
  }

  /** The sources without a probe on which a verdict waits. */
  #lacking({ id, sources }: Entry): EntrySource[] {
    const [first, ...others] = sources;
    if (first === undefined) return [];
    const probeOf = (source: EntrySource): Uint8Array | undefined => this.#probes.of(id, source);
    const open = others.filter((other) => compareContents(first, other, probeOf) === "unknown");
    if (open.length === 0) return [];
    const lacking = [first, ...open].filter((source) => probeOf(source) === undefined);
    // Probes of all of them that cannot be compared are by different hashes.
    return lacking.length > 0 ? lacking : [first, ...open];
  }

  #count(id: number): void {
    const entry = this.#parts.namespace.entry(id);
    if (entry === undefined || this.#lacking(entry).length > 0) return;
    const [, ...others] = entry.sources;
    if (others.every((source) => source.isProven)) this.#equal += 1;
    else this.#different += 1;
  }

  /** The hash of a source's head and tail; undefined if its origin cannot say now. */
  async #probe(
    source: EntrySource,
    { path, round }: { path: string; round: Round },
  ): Promise<Uint8Array | undefined> {
    const { namespace, isUp, log } = this.#parts;
    const name = namespace.identityOf(source.origin);
    const origin = round.byName.get(name);
    const failures = round.failures.get(name) ?? 0;
    if (origin === undefined || failures >= FAILURES_MAX || !isUp(name)) return undefined;
    try {
      const bytes = await readProbe(origin, { path, source, signal: round.signal });
      round.failures.delete(name);
      return round.digest(bytes);
    } catch (error) {
      round.signal.throwIfAborted();
      if (!(error instanceof MusicfsError)) throw error;
      if (error.retryable) round.failures.set(name, failures + 1);
      // A file that is another by now is probed again when a listing has said so.
      log.debug("Cannot compare a file's bytes yet", { origin: name, path, error });
      return undefined;
    }
  }
}

/** The first and the last `PROBE_BYTES` of a file; all of it if there is nothing in between. */
async function readProbe(
  origin: Origin,
  { path, source, signal }: { path: string; source: EntrySource; signal: AbortSignal },
): Promise<Uint8Array<ArrayBuffer>> {
  const { size, version } = source;
  const file = { path, size, version };
  const options = { signal, isBackground: true };
  if (size <= 2 * PROBE_BYTES) return await origin.read(file, { offset: 0, length: size }, options);
  const [head, tail] = await Promise.all([
    origin.read(file, { offset: 0, length: PROBE_BYTES }, options),
    origin.read(file, { offset: size - PROBE_BYTES, length: PROBE_BYTES }, options),
  ]);
  const bytes = new Uint8Array(2 * PROBE_BYTES);
  bytes.set(head);
  bytes.set(tail, PROBE_BYTES);
  return bytes;
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
