import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Health, HealthState, Observation, OriginKind } from "./health.ts";
import { comparableMs, observe, slowOnes, UNKNOWN_HEALTH } from "./health.ts";
import { HealthLog } from "./health_log.ts";
import { letGo } from "./linked_abort.ts";
import type { Origin } from "./origin.ts";
import { timeLimited } from "./time_limit.ts";
import { observationOf, Watching } from "./watching.ts";

/** How often an origin that is well, or that refused us, is asked, in ms. */
const CALM_PROBE_MS = 60_000;

/** How often every other origin is asked, in ms. */
const QUICK_PROBE_MS = 5_000;

/** Longest that a probe may take, in ms. */
const PROBE_LIMIT_MS = 5_000;

/** Waits are shorter by up to this share, so that probes of many daemons do not march in step. */
const JITTER = 0.2;

/** How long an origin that refused us is not asked again by reads and listings, in ms. */
const REFUSED_MS = 15_000;

/** How long after its last answer an offline origin may be having no more than a hiccup, in ms. */
const FRESH_OUTAGE_MS = 5_000;

/** How often an outage is told of, in ms. */
const SUMMARY_MS = 60_000;

/** What a monitor is made of. */
export interface HealthMonitorOptions {
  clock: Clock;
  log: Log;
  /** Chance in [0, 1). */
  random: () => number;
}

/** An origin's health, as `musicfs status` shows it. */
export interface HealthReport {
  state: HealthState;
  /** Median until something came, of the last 15 calls; null before the first. */
  latencyMs: number | null;
  /** Why it is not well; null if it is. */
  lastError: string | null;
  /** Since when it is in this state, in wall-clock ms since 1970. */
  sinceMs: number;
}

/** One origin went from one state to another. */
export interface HealthChange {
  name: string;
  was: HealthState;
  state: HealthState;
  /** How long it had been offline, in ms, if it has just come back; else 0. */
  offlineMs: number;
}

interface Subject {
  readonly name: string;
  readonly kind: OriginKind;
  /** The bare origin within a time limit: a probe waits behind nobody. */
  readonly probed: Origin;
  readonly log: HealthLog;
  health: Health;
  /** As reported: `degraded` also for one that is slow. */
  state: HealthState;
  sinceMs: number;
  offlineFrom: number;
  probing: Promise<void> | undefined;
  probedMs: number;
  /** When the next probe is due, on the monotonic clock. */
  dueMs: number;
  timer: AbortController | undefined;
}

/**
 * Knows how the origins are: from every call that goes through `watching()`, and from probes once
 * `start()` was called. Probes run side by side, each within 5 s; none waits for another.
 */
export class HealthMonitor implements AsyncDisposable {
  readonly #options: HealthMonitorOptions;
  readonly #subjects = new Map<string, Subject>();
  readonly #listeners = new Set<(change: HealthChange) => void>();
  readonly #stop = new AbortController();
  #tasks: Promise<void>[] | undefined;
  #slow: ReadonlySet<string> = new Set();

  constructor(options: HealthMonitorOptions) {
    this.#options = options;
  }

  /**
   * Takes note of an origin, to be probed by `raw.stat("")`, and wraps calls of the same origin so
   * that what comes of them counts. `calls` are single attempts with a time limit and exact lengths.
   */
  watching(raw: Origin, { kind, calls }: { kind: OriginKind; calls: Origin }): Origin {
    const { clock, log } = this.#options;
    const { name } = raw;
    const subject: Subject = {
      name,
      kind,
      probed: timeLimited(raw, { clock, stallMs: PROBE_LIMIT_MS }),
      log: new HealthLog(name, { clock, log }),
      health: UNKNOWN_HEALTH,
      state: "unknown",
      sinceMs: clock.now(),
      offlineFrom: 0,
      probing: undefined,
      probedMs: -Infinity,
      dueMs: 0,
      timer: undefined,
    };
    this.#subjects.set(name, subject);
    this.#tasks?.push(this.#task(this.#keepProbing(subject)));
    return new Watching(calls, {
      clock,
      onSeen: (seen, error) => this.#note(subject, seen, error),
      onRefused: () => {
        const sinceMs = clock.monotonic() - subject.probedMs;
        this.#hasten(subject, Math.max(0, QUICK_PROBE_MS - sinceMs));
      },
    });
  }

  /** Begins to probe, and to tell of outages once a minute. */
  start(): void {
    if (this.#stop.signal.aborted) return;
    this.#tasks ??= [
      this.#task(this.#tellOfOutages()),
      ...Array.from(this.#subjects.values(), (subject) => this.#task(this.#keepProbing(subject))),
    ];
  }

  /** Probes all origins now; resolves when each has answered or had its time. */
  async recheck(): Promise<void> {
    await Promise.all(Array.from(this.#subjects.values(), (subject) => this.#probe(subject)));
  }

  /**
   * Calls `listener` on each change of state, from within whatever call showed it.
   *
   * @returns what takes the listener off
   */
  onChange(listener: (change: HealthChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The health of one origin; `unknown` for a name that is not watched. */
  of(name: string): HealthReport {
    const subject = this.#subjects.get(name);
    if (!subject) return { state: "unknown", latencyMs: null, lastError: null, sinceMs: 0 };
    const { state, sinceMs, health } = subject;
    return { state, latencyMs: health.medianMs, lastError: health.lastError, sinceMs };
  }

  /** Whether it is worth asking: everything but `offline` is. */
  isUp(name: string): boolean {
    return this.#subjects.get(name)?.state !== "offline";
  }

  /** Whether it is up, or has gone offline so lately that the next attempt may well be answered. */
  isWorthRetrying(name: string): boolean {
    const subject = this.#subjects.get(name);
    if (subject?.state !== "offline") return true;
    return this.#options.clock.monotonic() - subject.offlineFrom < FRESH_OUTAGE_MS;
  }

  /** In the order in which to ask: who is well, who is slow or fails, who is offline; else as given. */
  order<T>(items: readonly T[], nameOf: (item: T) => string): readonly T[] {
    if (items.length < 2) return items;
    const rank = (item: T): number => {
      const state = this.#subjects.get(nameOf(item))?.state;
      return state === "offline" ? 2 : state === "degraded" ? 1 : 0;
    };
    return items.toSorted((a, b) => rank(a) - rank(b));
  }

  /** What a call gets at once while the origin has just refused us: nobody tries keys in a loop. */
  refusal(name: string): MusicfsError | undefined {
    const subject = this.#subjects.get(name);
    if (!subject?.health.isDenied) return undefined;
    const { failedMs, lastError } = subject.health;
    if (this.#options.clock.monotonic() - failedMs >= REFUSED_MS) return undefined;
    return new MusicfsError("denied", lastError ?? "", { op: "origin.refused", subject: name });
  }

  /** Another origin answered while this one, asked at `startedMs`, had gone silent. */
  overtaken(name: string, startedMs: number): void {
    const subject = this.#subjects.get(name);
    if (!subject) return;
    const nowMs = this.#options.clock.monotonic();
    const silentMs = Math.round(nowMs - startedMs);
    const message = `Cannot wait for ${name}: it sent nothing in ${silentMs} ms, and another ` +
      "origin answered";
    const error = new MusicfsError("timed_out", message, { op: "origin.read", subject: name });
    this.#note(subject, { kind: "failed", message, startedMs, nowMs }, error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    letGo(this.#stop);
    for (const { timer } of this.#subjects.values()) if (timer) letGo(timer);
    await Promise.all(this.#tasks ?? []);
    await Promise.all(Array.from(this.#subjects.values(), ({ probing }) => probing));
  }

  /** A task that ends by an error is a bug, and no reason to end the daemon. */
  #task(task: Promise<void>): Promise<void> {
    return task.catch((error) => {
      this.#options.log.error("An origin is not watched any more", { error });
    });
  }

  #note(subject: Subject, seen: Observation, error?: unknown): void {
    const before = subject.health;
    subject.health = observe(before, seen, subject.kind);
    if (seen.kind === "answered") subject.log.answered();
    else subject.log.failed(error);
    if (before.latencies !== subject.health.latencies || before.state !== subject.health.state) {
      this.#compare();
    }
    if (seen.kind !== "answered") this.#hasten(subject, this.#intervalMs(subject));
  }

  /** Sees who is slow beside the others, and tells who has another state now. */
  #compare(): void {
    const subjects = [...this.#subjects.values()];
    const up = subjects.filter(({ health }) => health.state !== "offline");
    this.#slow = slowOnes(
      new Map(up.map(({ name, health }) => [name, comparableMs(health)])),
      this.#slow,
    );
    for (const subject of subjects) {
      const { health: { state }, name } = subject;
      this.#become(subject, state === "online" && this.#slow.has(name) ? "degraded" : state);
    }
  }

  #become(subject: Subject, state: HealthState): void {
    const { name, state: was } = subject;
    if (state === was) return;
    const { clock, log } = this.#options;
    const now = clock.monotonic();
    const offlineMs = was === "offline" ? now - subject.offlineFrom : 0;
    if (state === "offline") subject.offlineFrom = now;
    subject.state = state;
    subject.sinceMs = clock.now();
    for (const listener of this.#listeners) {
      try {
        listener({ name, was, state, offlineMs });
      } catch (error) {
        log.error("A listener failed to take in an origin's health", { origin: name, error });
      }
    }
  }

  async #tellOfOutages(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (await slept(clock.sleep(SUMMARY_MS, signal))) {
      for (const { state, offlineFrom, health, log } of this.#subjects.values()) {
        if (state !== "offline") continue;
        log.stillOffline((clock.monotonic() - offlineFrom) / 1_000, health.lastError);
      }
    }
  }

  async #keepProbing(subject: Subject): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#probe(subject);
      subject.dueMs = clock.monotonic() + this.#jittered(this.#intervalMs(subject));
      while (!signal.aborted) {
        const waitMs = subject.dueMs - clock.monotonic();
        if (waitMs <= 0) break;
        subject.timer = new AbortController();
        await slept(clock.sleep(waitMs, subject.timer.signal));
        subject.timer = undefined;
      }
    }
  }

  /** Has the next probe come within `ms`, if it would come later. */
  #hasten(subject: Subject, ms: number): void {
    const dueMs = this.#options.clock.monotonic() + this.#jittered(ms);
    if (dueMs >= subject.dueMs) return;
    subject.dueMs = dueMs;
    if (subject.timer) letGo(subject.timer);
  }

  #jittered(ms: number): number {
    return ms * (1 - JITTER * this.#options.random());
  }

  #intervalMs({ state, health }: Subject): number {
    return state === "online" || health.isDenied ? CALM_PROBE_MS : QUICK_PROBE_MS;
  }

  async #probe(subject: Subject): Promise<void> {
    subject.probing ??= this.#ask(subject).finally(() => subject.probing = undefined);
    await subject.probing;
  }

  async #ask(subject: Subject): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    const startedMs = clock.monotonic();
    subject.probedMs = startedMs;
    try {
      await subject.probed.stat("", { signal });
      const nowMs = clock.monotonic();
      const latencyMs = nowMs - startedMs;
      this.#note(subject, { kind: "answered", latencyMs, startedMs, nowMs });
    } catch (error) {
      if (signal.aborted) return;
      const seen = observationOf(error, { path: "", startedMs, nowMs: clock.monotonic() });
      if (seen) this.#note(subject, seen, error);
    }
  }
}

/** Whether a sleep was slept to its end. */
function slept(sleep: Promise<void>): Promise<boolean> {
  return sleep.then(() => true, () => false);
}
