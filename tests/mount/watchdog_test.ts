import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { keepWatchdog, mountAnswers, watchdogLimitMs } from "../../src/mount/watchdog.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { FakeMount } from "./fake_mount.ts";

Deno.test("watchdogLimitMs() is what systemd asks of this very process", () => {
  assert.equal(watchdogLimitMs({}, 7), undefined);
  assert.equal(watchdogLimitMs({ WATCHDOG_USEC: "30000000" }, 7), 30_000);
  assert.equal(watchdogLimitMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "7" }, 7), 30_000);
  assert.equal(watchdogLimitMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "8" }, 7), undefined);
  assert.equal(watchdogLimitMs({ WATCHDOG_USEC: "0" }, 7), undefined);
  assert.equal(watchdogLimitMs({ WATCHDOG_USEC: "soon" }, 7), undefined);
});

Deno.test("keepWatchdog() pings three times within the limit, and only after an answer", async () => {
  const clock = new VirtualClock();
  const pings: number[] = [];
  const said: string[] = [];
  const say = (message: string): void => void said.push(message);
  const stop = new AbortController();
  let isWell = true;
  const kept = keepWatchdog({
    limitMs: 30_000,
    ask: (ms) => {
      assert.equal(ms, 10_000);
      return Promise.resolve(isWell);
    },
    ping: () => pings.push(clock.monotonic()),
    clock,
    log: { ...silentLog, error: say, info: say },
    signal: stop.signal,
  });
  await clock.settle();
  for (let i = 0; i < 3; i += 1) await clock.advance(10_000);
  assert.deepEqual(pings, [0, 10_000, 20_000, 30_000]);
  isWell = false;
  for (let i = 0; i < 6; i += 1) await clock.advance(10_000);
  assert.equal(pings.length, 4, "nothing is told while the mount does not answer");
  assert.deepEqual(said, ["The mount does not answer; systemd will replace this daemon"]);
  isWell = true;
  await clock.advance(10_000);
  assert.equal(pings.length, 5);
  assert.deepEqual(said.slice(1), ["The mount answers again"]);
  stop.abort(new DOMException("stop", "AbortError"));
  await assert.rejects(kept, { name: "AbortError" });
});

Deno.test("keepWatchdog() ends at once when it is told to, also in the midst of a question", async () => {
  const stop = new AbortController();
  const kept = keepWatchdog({
    limitMs: 30_000,
    ask: () => new Promise(() => {}),
    ping: () => assert.fail("nobody answered"),
    clock: new VirtualClock(),
    log: silentLog,
    signal: stop.signal,
  });
  stop.abort(new DOMException("stop", "AbortError"));
  await assert.rejects(kept, { name: "AbortError" });
});

/** Asks a mount, and lets the child end that was left behind if it got no answer. */
async function asked(path: string, ms = 30_000): Promise<boolean> {
  return await mountAnswers(path, { ms, clock: systemClock });
}

testWith(["fuse", "root"], "mountAnswers() is true of a mount that serves a request", async () => {
  await using dir = await tempDir("watchdog");
  await using mount = new FakeMount(dir.path);
  mount.live();
  assert.equal(await asked(dir.path), true);
});

testWith(["fuse", "root"], "mountAnswers() asks by musicfs where there is no stat", async () => {
  await using dir = await tempDir("watchdog");
  await using mount = new FakeMount(dir.path);
  mount.live();
  const path = Deno.env.get("PATH") ?? "";
  Deno.env.set("PATH", "/nonexistent");
  try {
    assert.equal(await asked(dir.path), true);
  } finally {
    Deno.env.set("PATH", path);
  }
});

testWith(
  ["fuse", "root"],
  { name: "mountAnswers() is false of a silent mount, and waits no longer", sanitizeOps: false },
  async () => {
    await using dir = await tempDir("watchdog");
    {
      await using _silent = new FakeMount(dir.path);
      assert.equal(await asked(dir.path, 300), false);
      await childrenEnded();
    }
    assert.equal(await asked(dir.path), true, "what is not mounted cannot be asked");
  },
);

testWith(["fuse", "root"], "mountAnswers() is false of a dead mount", async () => {
  await using dir = await tempDir("watchdog");
  await using mount = new FakeMount(dir.path);
  mount.die();
  assert.equal(await asked(dir.path), false);
});

/** Resolves when the question that was left behind has ended: SIGKILL ends it while nobody read it. */
async function childrenEnded(): Promise<void> {
  const anyChild = async (): Promise<boolean> => {
    for await (const { name } of Deno.readDir("/proc/self/task")) {
      const children = await Deno.readTextFile(`/proc/self/task/${name}/children`).catch(() => "");
      if (children.trim() !== "") return true;
    }
    return false;
  };
  await eventually(async () => !await anyChild(), { ms: 10_000, what: "no child is left" });
}
