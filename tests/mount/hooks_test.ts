import assert from "node:assert/strict";
import type { Log } from "../../src/base/log.ts";
import { silentLog } from "../../src/base/log.ts";
import type { EntryEvent, EventListener } from "../../src/library/entry_event.ts";
import type { StatusResult } from "../../src/mount/cache_commands.ts";
import type { HookConfig } from "../../src/mount/config.ts";
import type { HookCall, HookFailure } from "../../src/mount/hook_command.ts";
import { hookName, keepHook } from "../../src/mount/hooks.ts";
import type { ScanNews } from "../../src/mount/scan_runs.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const HOOK: HookConfig = { command: ["mpc", "update"], timeoutMs: 30_000, minIntervalMs: 10_000 };

interface Run {
  paths: string[];
  end(failure?: HookFailure): void;
  call: HookCall;
}

interface Rig {
  clock: VirtualClock;
  runs: Run[];
  lines: string[];
  status: StatusResult["scan"];
  listeners: { library: Set<EventListener>; scans: Set<(news: ScanNews) => void> };
  change(...paths: string[]): Promise<void>;
  scan(news: ScanNews): Promise<void>;
  stop(): Promise<void>;
}

/** A hook that is kept by a clock that stands still, and its runs as they are begun. */
function openRig(
  { lastScanMs = 1, hasTold = false }: { lastScanMs?: number | null; hasTold?: boolean } = {},
): Rig {
  const clock = new VirtualClock();
  const stop = new AbortController();
  const listeners = { library: new Set<EventListener>(), scans: new Set<(n: ScanNews) => void>() };
  const runs: Run[] = [];
  const lines: string[] = [];
  const status: StatusResult["scan"] = { state: "idle", files: 0, last_complete_ms: lastScanMs };
  const note = (message: string, fields: unknown): void => {
    lines.push(`${message} ${JSON.stringify(fields)}`);
  };
  const log: Log = { ...silentLog, info: note, warning: note };
  const listen = <T>(to: Set<T>) => (listener: T): () => void => {
    to.add(listener);
    return () => void to.delete(listener);
  };
  const kept = keepHook(HOOK, {
    cache: { library: { listen: listen(listeners.library) }, changes: { hasTold } },
    scans: { listen: listen(listeners.scans), status: () => status },
    mountpoint: "/mnt/music",
    environment: {},
    clock,
    log,
    signal: stop.signal,
    run: (_hook, call) => {
      const { promise, resolve, reject } = Promise.withResolvers<HookFailure | undefined>();
      call.signal.addEventListener("abort", () => reject(call.signal.reason));
      runs.push({ paths: call.batch.changes.map(({ path }) => path), end: resolve, call });
      return promise;
    },
  });
  return {
    clock,
    runs,
    lines,
    status,
    listeners,
    change: async (...paths: string[]) => {
      const events = paths.map((path): EntryEvent => ({ kind: "added", path }));
      for (const listener of listeners.library) listener(events);
      await clock.settle();
    },
    scan: async (news: ScanNews) => {
      for (const listener of listeners.scans) listener(news);
      await clock.settle();
    },
    stop: async () => {
      stop.abort(new Error("stopping"));
      await assert.rejects(kept, /stopping/);
    },
  };
}

Deno.test("keepHook() runs a hook after a quiet time, and once for what comes meanwhile", async () => {
  const { clock, runs, change, lines, stop } = openRig();
  await change("a");
  await clock.advance(1_900);
  await change("b");
  await clock.advance(1_900);
  assert.equal(runs.length, 0);
  await clock.advance(100);
  assert.deepEqual(runs.map(({ paths }) => paths), [["a", "b"]]);
  await change("c");
  await clock.advance(20_000);
  assert.equal(runs.length, 1, "one run at a time");
  runs[0]?.end();
  await clock.settle();
  await clock.settle();
  assert.deepEqual(runs.map(({ paths }) => paths), [["a", "b"], ["c"]]);
  assert.match(lines[0] ?? "", /^Ran a hook {"hook":"mpc","added":2,.*"ms":20000}$/);
  runs[1]?.end();
  await clock.advance(60_000);
  assert.equal(runs.length, 2, "nothing has changed");
  await stop();
});

Deno.test("keepHook() logs a failure in one line, and tells what failed with the next change", async () => {
  const { clock, runs, change, lines, stop } = openRig();
  await change("a");
  await clock.advance(2_000);
  runs[0]?.end({ error: "exit code 1", stderr: "no connection" });
  await clock.advance(3_600_000);
  assert.equal(runs.length, 1);
  assert.match(
    lines[0] ?? "",
    /^A hook failed {"hook":"mpc","error":"exit code 1","stderr":"no con/,
  );
  await change("b");
  await clock.advance(2_000);
  assert.deepEqual(runs[1]?.paths, ["a", "b"]);
  runs[1]?.end();
  await stop();
});

Deno.test("keepHook() runs a hook once for a first scan, at its end", async () => {
  const { clock, runs, change, scan, status, stop } = openRig({ lastScanMs: null });
  await change("before the scan");
  await clock.advance(60_000);
  await scan({ origins: ["nas"] });
  for (let i = 0; i < 100; i += 1) {
    await change(`${i}`);
    await clock.advance(10_000);
  }
  assert.equal(runs.length, 0);
  status.last_complete_ms = 1;
  await scan({ origins: ["nas"], results: [] });
  await clock.settle();
  assert.equal(runs.length, 1);
  assert.equal(runs[0]?.paths.length, 101);
  runs[0]?.end();
  await clock.settle();
  await scan({ origins: ["nas"] });
  await change("later");
  await clock.advance(60_000);
  assert.equal(runs.length, 2, "no other scan holds it up for long");
  runs[1]?.end();
  await stop();
});

Deno.test("keepHook() runs a hook for what was committed before it listened", async () => {
  const { clock, runs, change, scan, stop } = openRig({ lastScanMs: null, hasTold: true });
  await scan({ origins: ["nas"] });
  await change("A/a");
  await clock.advance(60_000);
  assert.equal(runs.length, 0);
  await scan({ origins: ["nas"], results: [] });
  await clock.advance(2_000);
  assert.equal(runs.length, 1);
  const { truncated, folders, added } = runs[0]?.call.batch ?? assert.fail();
  assert.deepEqual([truncated, folders, added], [true, ["", "A"], 1]);
  runs[0]?.end();
  await clock.advance(60_000);
  assert.equal(runs.length, 1);
  await stop();
});

Deno.test("keepHook() ends with the daemon, and what it runs with it", async () => {
  const { clock, runs, change, listeners, stop } = openRig();
  await change("a");
  await clock.advance(2_000);
  assert.equal(runs.length, 1);
  assert(!runs[0]?.call.signal.aborted);
  await stop();
  assert(runs[0]?.call.signal.aborted);
  assert.equal(listeners.library.size + listeners.scans.size, 0);
});

Deno.test("hookName() shows no arguments, no path and no options", () => {
  const times = { timeoutMs: 1, minIntervalMs: 1 };
  assert.equal(hookName({ ...times, command: ["curl", "secret"] }), "curl");
  const url = "https://ann:secret@nas:4533/secret?t=secret";
  assert.equal(hookName({ ...times, url, method: "GET", headers: {} }), "https://nas:4533");
});
