import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import type { EntryEvent, EventListener } from "../../src/library/entry_event.ts";
import type { HealthChange } from "../../src/origins/health_monitor.ts";
import { serveControl } from "../../src/mount/control.ts";
import { callDaemon } from "../../src/mount/control_client.ts";
import { encodeLine } from "../../src/mount/control_protocol.ts";
import { type DaemonEvent, DaemonEventSchema } from "../../src/mount/daemon_events.ts";
import { EventStreams } from "../../src/mount/event_streams.ts";
import type { ScanNews } from "../../src/mount/scan_runs.ts";
import type { EvictListener } from "../../src/store/space.ts";
import { eventually } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { commandsOf } from "./fake_commands.ts";
import * as v from "valibot";

/** Whom a source tells. */
class Source<Listener> {
  readonly listeners = new Set<Listener>();

  listen = (listener: Listener): () => void => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };
}

interface Rig extends AsyncDisposable {
  clock: VirtualClock;
  streams: EventStreams;
  path: string;
  sources: { listeners: Set<unknown> }[];
  tell(events: EntryEvent[]): void;
  evict(kind: "chunk" | "extent", bytes: number): void;
  become(change: HealthChange): void;
  scan(news: ScanNews): void;
}

/** Streams of a daemon that does nothing by itself, on a real socket. */
async function openRig(): Promise<Rig> {
  const dir = await tempDir("events");
  const clock = new VirtualClock(1_000);
  const library = new Source<EventListener>();
  const evictions = new Source<EvictListener>();
  const health = new Source<(change: HealthChange) => void>();
  const scans = new Source<(news: ScanNews) => void>();
  const reports = {
    state: "offline",
    latencyMs: null,
    lastError: "no\n answer",
    sinceMs: 0,
  } as const;
  const streams = new EventStreams({
    cache: {
      library,
      space: { onEvict: evictions.listen },
      health: { onChange: health.listen, of: () => reports },
    },
    scans,
    clock,
    daemon: { pid: 7, mountpoint: "/mnt/music", version: "1" },
  });
  const path = `${dir.path}/control.sock`;
  const server = await serveControl({
    path,
    commands: commandsOf({}),
    streams: { events: streams.stream.bind(streams) },
    log: silentLog,
  });
  return {
    clock,
    streams,
    path,
    sources: [library, evictions, health, scans],
    tell: (events: EntryEvent[]) => library.listeners.forEach((listener) => listener(events)),
    evict: (kind: "chunk" | "extent", bytes: number) =>
      evictions.listeners.forEach((listener) => listener(kind, "00", bytes)),
    become: (change: HealthChange) => health.listeners.forEach((listener) => listener(change)),
    scan: (news: ScanNews) => scans.listeners.forEach((listener) => listener(news)),
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Follows, and checks every event against the schema. */
function follow(path: string): { events: DaemonEvent[]; leave(): void; ended: Promise<unknown> } {
  const events: DaemonEvent[] = [];
  const leave = new AbortController();
  const ended = callDaemon(path, "events", {
    signal: leave.signal,
    onProgress: (progress) => {
      for (const event of Object(progress).events) events.push(v.parse(DaemonEventSchema, event));
    },
  });
  return { events, ended, leave: () => leave.abort(new Error("enough")) };
}

const LIMIT = { ms: 20_000, what: "the events" };

Deno.test("EventStreams tells every kind of event, and its end", async () => {
  await using rig = await openRig();
  const { events, ended } = follow(rig.path);
  await eventually(() => events.length === 1, LIMIT);
  rig.tell([
    { kind: "added", path: "a" },
    { kind: "changed", path: "b" },
    { kind: "gone", path: "c" },
    { kind: "moved", path: "d", from: "e" },
  ]);
  const name = "nas";
  rig.become({ name, was: "online", state: "offline", offlineMs: 0 });
  rig.become({ name, was: "offline", state: "degraded", offlineMs: 1_500 });
  rig.become({ name, was: "degraded", state: "online", offlineMs: 2_500.4 });
  rig.scan({ origins: [name, "s3"] });
  const counts = { folders: 1, files: 2, added: 3, changed: 4, moved: 5, gone: 6 };
  const result = {
    ...counts,
    state: "held",
    resumed: true,
    held_deletions: 7,
    seconds: 0.12345,
    error: null,
  } as const;
  rig.scan({ origins: [name, "s3"], results: [{ name, ...result }] });
  rig.evict("chunk", 10);
  rig.evict("extent", 5);
  await rig.streams.stop("unmount");
  assert.deepEqual(await ended, {});
  const time_ms = 1_000;
  const none = { folders: 0, files: 0, added: 0, changed: 0, moved: 0, gone: 0 };
  assert.deepEqual(events, [
    { event: "connected", time_ms, pid: 7, mountpoint: "/mnt/music", version: "1" },
    { event: "added", time_ms, path: "a" },
    { event: "changed", time_ms, path: "b" },
    { event: "removed", time_ms, path: "c" },
    { event: "moved", time_ms, path: "d", from: "e" },
    { event: "origin_down", time_ms, origin: "nas", reason: "no answer" },
    { event: "origin_degraded", time_ms, origin: "nas", reason: "no answer" },
    { event: "origin_up", time_ms, origin: "nas", offline_s: 2.5 },
    { event: "scan_begun", time_ms, origin: "nas" },
    { event: "scan_begun", time_ms, origin: "s3" },
    { event: "scan_ended", time_ms, origin: "nas", ...result, seconds: 0.123 },
    {
      event: "scan_ended",
      time_ms,
      origin: "s3",
      state: "interrupted",
      resumed: false,
      ...none,
      held_deletions: 0,
      seconds: 0,
      error: null,
    },
    { event: "evicted", time_ms, chunks: 1, extents: 1, bytes: 15 },
    { event: "stopping", time_ms, reason: "unmount" },
  ]);
  await assert.rejects(callDaemon(rig.path, "events"), /the daemon stops/);
});

Deno.test("EventStreams listens to nothing while nobody follows", async () => {
  await using rig = await openRig();
  const listeners = (): number[] => rig.sources.map((source) => source.listeners.size);
  assert.deepEqual(listeners(), [0, 0, 0, 0]);
  const clients = [follow(rig.path), follow(rig.path)];
  await eventually(() => clients.every(({ events }) => events.length === 1), LIMIT);
  assert.deepEqual(listeners(), [1, 1, 1, 1]);
  for (const [at, { leave, ended }] of clients.entries()) {
    leave();
    await assert.rejects(ended, /enough/);
    await eventually(() => rig.streams.count === 1 - at, LIMIT);
  }
  assert.deepEqual(listeners(), [0, 0, 0, 0]);
});

Deno.test("EventStreams adds evictions up for a second", async () => {
  await using rig = await openRig();
  const { events, leave, ended } = follow(rig.path);
  await eventually(() => events.length === 1, LIMIT);
  for (let i = 0; i < 5_000; i += 1) rig.evict("chunk", 100);
  await rig.clock.advance(1_000);
  rig.evict("chunk", 1);
  await rig.clock.advance(999);
  await eventually(() => events.length === 2, LIMIT);
  await rig.clock.advance(1);
  await eventually(() => events.length === 3, LIMIT);
  assert.deepEqual(events.slice(1), [
    { event: "evicted", time_ms: 2_000, chunks: 5_000, extents: 0, bytes: 500_000 },
    { event: "evicted", time_ms: 3_000, chunks: 1, extents: 0, bytes: 1 },
  ]);
  leave();
  await assert.rejects(ended, /enough/);
});

Deno.test("EventStreams sends a burst of 100,000 to those who read, and counts it for those who do not", async () => {
  await using rig = await openRig();
  const { events, ended } = follow(rig.path);
  // Asks, and never reads the answer.
  const silent = await Deno.connect({ transport: "unix", path: rig.path });
  await silent.write(encodeLine({ version: 1, id: 1, command: "events", args: {} }));
  await eventually(() => rig.streams.count === 2 && events.length === 1, LIMIT);
  const before = Deno.memoryUsage().heapUsed;
  let told = 0;
  while (told < 100_000) {
    rig.tell(Array.from({ length: 2_000 }, (_, i) => ({
      kind: "changed",
      path: `Artist ${told % 500}/Album ${told % 70}/${i} ${"x".repeat(60)}.flac`,
    })));
    told += 2_000;
    await eventually(() => events.length === told + 1, LIMIT);
  }
  assert(Deno.memoryUsage().heapUsed - before < 120_000_000);
  const stopped = rig.streams.stop("signal");
  await ended;
  await rig.clock.advance(500);
  await stopped;
  assert.equal(events.filter(({ event }) => event === "changed").length, 100_000);
  assert.equal(events.filter(({ event }) => event === "lost").length, 0);
  silent.close();
  await eventually(() => rig.streams.count === 0, LIMIT);
});

Deno.test("EventStreams turns away who is one too many", async () => {
  await using rig = await openRig();
  const clients = Array.from({ length: 16 }, () => follow(rig.path));
  await eventually(() => clients.every(({ events }) => events.length === 1), LIMIT);
  await assert.rejects(callDaemon(rig.path, "events"), { code: "unavailable" });
  await rig.streams.stop("signal");
  for (const { ended } of clients) await ended;
});
