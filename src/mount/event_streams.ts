import type { Clock } from "../base/clock.ts";
import { orAborted, within } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { EntryEvent } from "../library/library.ts";
import type { HealthChange } from "../origins/health_monitor.ts";
import type { Cache } from "./cache.ts";
import type { ControlCall } from "./control.ts";
import type { DaemonEvent } from "./daemon_events.ts";
import { EventQueue } from "./event_queue.ts";
import type { ScanNews, ScanRuns } from "./scan_runs.ts";
import type { StopReason } from "./stop_signal.ts";

/** Clients at once: they are few, and share what waits for them. */
const CLIENTS_MAX = 16;

/** Time over which evictions are added up to one event, in ms. */
const EVICTED_MS = 1_000;

/** How long clients may take to be told of the end, in ms. */
const FAREWELL_MS_MAX = 500;

/** What is listened to, and what a client is told first. */
export interface EventSources {
  cache: {
    library: Pick<Cache["library"], "listen">;
    space: Pick<Cache["space"], "onEvict">;
    health: Pick<Cache["health"], "onChange" | "of">;
  };
  scans: Pick<ScanRuns, "listen">;
  clock: Clock;
  daemon: { pid: number; mountpoint: string; version: string };
}

/** An event without its time. */
type Untimed = DaemonEvent extends infer Each
  ? Each extends DaemonEvent ? Omit<Each, "time_ms"> : never
  : never;

/**
 * What happens in a daemon, told to whoever follows it on the control socket. While nobody does,
 * nothing is listened to.
 */
export class EventStreams {
  readonly #sources: EventSources;
  readonly #clients = new Map<EventQueue, Promise<void>>();
  #stopListening: (() => void) | undefined;
  #isStopped = false;

  constructor(sources: EventSources) {
    this.#sources = sources;
  }

  /** Clients that follow. */
  get count(): number {
    return this.#clients.size;
  }

  /**
   * Tells one client, as progress of its command, until it goes away or the daemon stops. The next
   * events are sent when it has taken the last: who reads slowly misses some, and is told so.
   *
   * Throws `unavailable` if there are too many, and the signal's reason.
   */
  async stream(_args: unknown, call: ControlCall): Promise<unknown> {
    if (this.#isStopped || this.#clients.size >= CLIENTS_MAX) {
      const why = this.#isStopped ? "the daemon stops" : `${CLIENTS_MAX} programs do already`;
      throw new MusicfsError("unavailable", `Cannot follow what happens: ${why}`, {
        op: "events.stream",
        subject: "control.sock",
      });
    }
    const { clock, daemon } = this.#sources;
    const queue = new EventQueue(() => clock.now());
    queue.push({ event: "connected", time_ms: clock.now(), ...daemon });
    const sent = send(queue, call);
    // Its failure is the client's end, and told below.
    this.#clients.set(queue, sent.catch(() => undefined));
    this.#stopListening ??= this.#listen();
    try {
      await sent;
      return {};
    } finally {
      this.#clients.delete(queue);
      if (this.#clients.size === 0) this.#endListening();
    }
  }

  /** Tells everybody that the daemon stops, and gives them a moment to take it. */
  async stop(reason: StopReason): Promise<void> {
    this.#isStopped = true;
    // What has been added up is told now.
    this.#endListening();
    this.#tell({ event: "stopping", reason });
    for (const queue of this.#clients.keys()) queue.close();
    const sent = Promise.all(this.#clients.values());
    await within(sent, { ms: FAREWELL_MS_MAX, clock: this.#sources.clock });
  }

  #endListening(): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
  }

  #listen(): () => void {
    const { cache, scans, clock } = this.#sources;
    const evictions = new Evictions(clock, (event) => this.#tell(event));
    const ends = [
      cache.library.listen((events) => {
        for (const event of events) this.#tell(fileEvent(event));
      }),
      cache.health.onChange((change) => {
        const event = originEvent(change, cache.health.of(change.name).lastError);
        if (event) this.#tell(event);
      }),
      cache.space.onEvict((kind, _id, diskBytes) => evictions.add(kind, diskBytes)),
      scans.listen((news) => {
        for (const event of scanEvents(news)) this.#tell(event);
      }),
    ];
    return () => {
      for (const end of ends) end();
      evictions.end();
    };
  }

  #tell({ event, ...about }: Untimed): void {
    // The keys in the order in which they are read.
    const timed = { event, time_ms: this.#sources.clock.now(), ...about };
    for (const queue of this.#clients.keys()) queue.push(timed as DaemonEvent);
  }
}

async function send(queue: EventQueue, { progress, sent, gone }: ControlCall): Promise<void> {
  for (;;) {
    await orAborted(queue.filled(), gone);
    const events = queue.take();
    if (events.length === 0 && queue.isClosed) return;
    progress({ events });
    await orAborted(sent(), gone);
  }
}

/** Evictions, added up so that a full cache that is read from tells of them once a second. */
class Evictions {
  #sum = { chunks: 0, extents: 0, bytes: 0 };
  #timer: AbortController | undefined;

  constructor(readonly clock: Clock, readonly tell: (event: Untimed) => void) {}

  add(kind: "chunk" | "extent", diskBytes: number): void {
    this.#sum[kind === "chunk" ? "chunks" : "extents"] += 1;
    this.#sum.bytes += diskBytes;
    if (this.#timer) return;
    const timer = this.#timer = new AbortController();
    this.clock.sleep(EVICTED_MS, timer.signal)
      .then(() => this.end(), () => {/* Told early. */});
  }

  /** Tells what there is to tell. */
  end(): void {
    if (!this.#timer) return;
    this.#timer.abort();
    this.#timer = undefined;
    const sum = this.#sum;
    this.#sum = { chunks: 0, extents: 0, bytes: 0 };
    this.tell({ event: "evicted", ...sum });
  }
}

function fileEvent({ kind, path, from = path }: EntryEvent): Untimed {
  if (kind === "moved") return { event: kind, path, from };
  return { event: kind === "gone" ? "removed" : kind, path };
}

function originEvent(
  { name: origin, state, offlineMs }: HealthChange,
  lastError: string | null,
): Untimed | undefined {
  const reason = lastError?.replace(/\s+/g, " ") ?? null;
  switch (state) {
    case "online":
      return { event: "origin_up", origin, offline_s: Math.round(offlineMs) / 1_000 };
    case "degraded":
      return { event: "origin_degraded", origin, reason };
    case "offline":
      return { event: "origin_down", origin, reason };
    case "unknown":
      return undefined;
  }
}

function scanEvents({ origins, results }: ScanNews): Untimed[] {
  if (!results) return origins.map((origin) => ({ event: "scan_begun", origin }));
  return origins.map((name) => {
    const { name: origin, ...found } = results.find((result) => result.name === name) ??
      { name, ...NOT_ENDED };
    const seconds = Math.round(found.seconds * 1_000) / 1_000;
    return { event: "scan_ended", origin, ...found, seconds };
  });
}

/** What is said of a scan that ended without a result. */
const NOT_ENDED = {
  state: "interrupted",
  resumed: false,
  folders: 0,
  files: 0,
  added: 0,
  changed: 0,
  moved: 0,
  gone: 0,
  held_deletions: 0,
  seconds: 0,
  error: null,
} as const;
