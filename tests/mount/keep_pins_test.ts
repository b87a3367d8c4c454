import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { keepPins } from "../../src/mount/keep_pins.ts";
import { pin, unpin } from "../../src/mount/pin_commands.ts";
import { SEGMENT } from "../../src/store/lru_eviction.ts";
import { MoodyOrigin } from "../library/library_fixture.ts";
import { noise } from "../reader/rig.ts";
import { tempDir } from "../support/temp_dir.ts";
import { WarmRig } from "./warm_rig.ts";

const KiB = 1024;
const asked = (path: string): { paths: { typed: string; candidates: string[] }[] } => ({
  paths: [{ typed: path, candidates: [path] }],
});

/** The task on a rig, with what it warned of, and a way to let it come to rest. */
function keeping(rig: WarmRig): {
  warnings: string[];
  rested: () => Promise<void>;
  ended: Promise<unknown>;
} {
  const warnings: string[] = [];
  const log = { ...silentLog, warning: (message: string) => warnings.push(message) };
  const ended = keepPins({ ...rig.parts, log }).catch((error) => error);
  // At rest it waits for the next look, at least 60 s away; nothing else sleeps that long.
  const rested = async (): Promise<void> => {
    await rig.clock.settle();
    while (!rig.clock.sleeping.some((ms) => ms > 50_000)) await turn();
    for (let i = 0; i < 10; i += 1) await turn();
  };
  return { warnings, rested, ended };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

const scan = async (rig: WarmRig): Promise<void> => {
  const scanned = rig.library.scan({ signal: rig.stop.signal });
  while (await Promise.race([scanned.then(() => false), turn().then(() => true)])) {
    await rig.clock.advance(50);
  }
};

Deno.test("keepPins() fetches and pins what appears and what changes below a pin", async () => {
  await using dir = await tempDir("keep");
  const origin = new MoodyOrigin("nas");
  origin.put("A/1.flac", noise(100 * KiB, 1));
  origin.put("B/1.flac", noise(100 * KiB, 2));
  await using rig = new WarmRig(dir.path, [origin]);
  await pin(rig.parts, asked("A"));
  const task = keeping(rig);
  await task.rested();
  assert.deepEqual(rig.brought, ["A/1.flac"]);
  origin.put("A/2.flac", noise(100 * KiB, 3));
  origin.put("A/1.flac", noise(120 * KiB, 4));
  origin.put("B/2.flac", noise(100 * KiB, 5));
  await scan(rig);
  await rig.clock.advance(2_000);
  await task.rested();
  assert.deepEqual(rig.brought.slice(1).toSorted(), ["A/1.flac", "A/2.flac"]);
  assert.deepEqual(rig.segmentsOf("A/1.flac"), [SEGMENT.pinned]);
  assert.deepEqual(rig.segmentsOf("A/2.flac"), [SEGMENT.pinned]);
  // 220 KiB of the two files; nothing of the version that was replaced is left pinned.
  const { pinnedBytes } = rig.cache.cacheIndex.totals();
  assert(pinnedBytes >= 220 * KiB && pinnedBytes < 260 * KiB, `${pinnedBytes}`);
  rig.stop.abort(new DOMException("over", "AbortError"));
  assert.equal((await task.ended as Error).name, "AbortError");
});

Deno.test("keepPins() tries again what an origin that is down could not give", async () => {
  await using dir = await tempDir("keep");
  const origin = new MoodyOrigin("nas");
  origin.put("A/1.flac", noise(100 * KiB, 1));
  await using rig = new WarmRig(dir.path, [origin]);
  await scan(rig);
  const read = origin.read.bind(origin);
  origin.read = () =>
    Promise.reject(new MusicfsError("unavailable", "Down", { op: "o.read", subject: "nas" }));
  rig.pins.add(["A"], 0);
  const task = keeping(rig);
  await task.rested();
  await rig.clock.advance(60_000);
  await task.rested();
  assert.equal(rig.brought.length, 2);
  assert.equal(task.warnings.length, 1, `${task.warnings}`);
  origin.read = read;
  await rig.clock.advance(60_000);
  await task.rested();
  assert.deepEqual(rig.segmentsOf("A/1.flac"), [SEGMENT.pinned]);
  rig.stop.abort(new DOMException("over", "AbortError"));
  await task.ended;
});

Deno.test("keepPins() pins again what shares chunks with a path that was let go", async () => {
  await using dir = await tempDir("keep");
  const origin = new MoodyOrigin("nas");
  origin.put("A/1.flac", noise(100 * KiB, 1));
  origin.put("B/1.flac", noise(100 * KiB, 1));
  await using rig = new WarmRig(dir.path, [origin]);
  const task = keeping(rig);
  await task.rested();
  await pin(rig.parts, asked("A"));
  await pin(rig.parts, asked("B"));
  await unpin(rig.parts, asked("A"));
  await rig.clock.advance(2_000);
  await task.rested();
  assert.deepEqual(rig.segmentsOf("B/1.flac"), [SEGMENT.pinned]);
  rig.stop.abort(new DOMException("over", "AbortError"));
  await task.ended;
});

Deno.test("keepPins() stops at what fits into max_size, and says so", async () => {
  await using dir = await tempDir("keep");
  const origin = new MoodyOrigin("nas");
  for (let i = 0; i < 8; i += 1) origin.put(`A/${i}.flac`, noise(200 * KiB, i + 1));
  await using rig = new WarmRig(dir.path, [origin], { limitBytes: 1000 * KiB });
  await scan(rig);
  rig.pins.add(["A"], 0);
  const task = keeping(rig);
  await task.rested();
  assert(rig.brought.length >= 2 && rig.brought.length <= 4, `${rig.brought.length}`);
  assert.match(task.warnings[0] ?? "", /^Not all that is pinned fits into max_size/);
  assert(rig.cache.cacheIndex.totals().pinnedBytes < 1000 * KiB);
  rig.stop.abort(new DOMException("over", "AbortError"));
  await task.ended;
});
