import assert from "node:assert/strict";
import { type Log, silentLog } from "../../src/base/log.ts";
import { OriginWatcher } from "../../src/library/origin_watcher.ts";
import type { LookBatch } from "../../src/library/watch_queue.ts";
import type { FolderHint, WatchLoss } from "../../src/origins/folder_watch.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** A watcher whose source, looks and scans are the test's. */
class Rig implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly #stop = new AbortController();
  readonly looked: [ms: number, folders: string[]][] = [];
  readonly scannedAt: number[] = [];
  readonly lines: string[] = [];
  /** What looks and scans wait for, and how they end. */
  look: (batch: LookBatch) => Promise<boolean> = () => Promise.resolve(false);
  scan: () => Promise<boolean> = () => Promise.resolve(true);
  lose: (why: WatchLoss) => void = () => {};
  #hint: (hint: FolderHint) => void = () => {};
  readonly watcher: OriginWatcher;
  readonly running: Promise<unknown>;

  constructor() {
    const log: Log = { ...silentLog, info: (line) => this.lines.push(line) };
    this.watcher = new OriginWatcher({
      name: "nas",
      source: {
        listen: ({ hint, lost }) => {
          this.#hint = hint;
          this.lose = lost;
        },
      },
      look: (batch) => {
        this.looked.push([this.clock.monotonic(), batch.folders]);
        return this.look(batch);
      },
      scan: () => {
        this.scannedAt.push(this.clock.monotonic());
        return this.scan();
      },
      clock: this.clock,
      log,
    });
    this.running = this.watcher.run(this.#stop.signal).catch((error) => error);
  }

  hint(folder: string): void {
    this.#hint({ folder, isNew: false, isGone: false, isGrowing: false, isMove: false });
  }

  /** Lets time pass in small steps, as a clock does. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) await this.clock.advance(50);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new DOMException("over", "AbortError"));
    const ended = await this.running;
    assert(ended instanceof Error);
  }
}

Deno.test("OriginWatcher looks once at what changed many times, and again at what changed later", async () => {
  await using rig = new Rig();
  await rig.clock.settle();
  for (let i = 0; i < 5; i += 1) rig.hint("a");
  rig.hint("b");
  await rig.pass(150);
  assert.deepEqual(rig.looked, []);
  await rig.pass(100);
  rig.hint("a");
  await rig.pass(1_000);
  assert.deepEqual(rig.looked, [[200, ["a", "b"]], [450, ["a"]]]);
  assert.deepEqual(rig.scannedAt, []);
});

Deno.test("OriginWatcher keeps what comes while it looks", async () => {
  await using rig = new Rig();
  const gate = Promise.withResolvers<boolean>();
  rig.look = () => gate.promise;
  rig.hint("a");
  await rig.pass(300);
  rig.hint("a");
  rig.hint("b");
  await rig.pass(2_000);
  assert.equal(rig.looked.length, 1);
  gate.resolve(false);
  await rig.pass(100);
  assert.deepEqual(rig.looked.map(([, folders]) => folders), [["a"], ["a", "b"]]);
});

Deno.test("OriginWatcher scans when changes were lost, and again if more were during the scan", async () => {
  await using rig = new Rig();
  const gate = Promise.withResolvers<boolean>();
  rig.scan = () => gate.promise;
  rig.lose("overflow");
  rig.hint("a");
  await rig.pass(500);
  assert.deepEqual(rig.scannedAt, [200]);
  assert.equal(rig.looked.length, 1, "looks go on beside a scan");
  rig.lose("overflow");
  await rig.pass(500);
  rig.scan = () => Promise.resolve(true);
  gate.resolve(true);
  await rig.pass(5_000);
  assert.equal(rig.scannedAt.length, 2);
  assert(rig.lines.some((line) => line.includes("missed")));
});

Deno.test("OriginWatcher scans with longer and longer waits while that fails", async () => {
  await using rig = new Rig();
  let fails = 4;
  rig.scan = () => Promise.resolve(fails-- <= 0);
  rig.lose("ended");
  await rig.pass(60_000);
  assert.deepEqual(rig.scannedAt, [200, 1_200, 3_200, 7_200, 15_200]);
});

Deno.test("OriginWatcher scans when it could not look", async () => {
  await using rig = new Rig();
  rig.look = () => Promise.reject(new Error("the origin is down"));
  rig.hint("a");
  await rig.pass(2_000);
  assert.deepEqual(rig.scannedAt, [400]);
  rig.look = () => Promise.resolve(false);
  rig.hint("a");
  await rig.pass(2_000);
  assert.equal(rig.looked.length, 2);
});

Deno.test("OriginWatcher.run() ends with a scan's own fault, to be started again", async () => {
  const rig = new Rig();
  rig.scan = () => Promise.reject(new TypeError("a bug"));
  assert.equal(rig.watcher.hasFailed, false);
  rig.watcher.rescan();
  await rig.pass(500);
  assert(await rig.running instanceof TypeError);
  assert.equal(rig.watcher.hasFailed, true);
  assert.deepEqual(rig.clock.sleeping, []);
});
