import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { TypedPath, WarmProgress } from "../../src/mount/cache_commands.ts";
import { listPins, pin, unpin, warm } from "../../src/mount/pin_commands.ts";
import { Pins } from "../../src/mount/pins.ts";
import { silentLog } from "../../src/base/log.ts";
import { SEGMENT } from "../../src/store/lru_eviction.ts";
import { MoodyOrigin } from "../library/library_fixture.ts";
import { noise } from "../reader/rig.ts";
import { tempDir } from "../support/temp_dir.ts";
import { WarmRig } from "./warm_rig.ts";

const KiB = 1024;
const ALBUM = "Ana Vidal/Salt Roads";

const asked = (...paths: string[]): { paths: TypedPath[] } => ({
  paths: paths.map((typed) => ({ typed, candidates: [typed] })),
});

const DOWN = new MusicfsError("unavailable", "Cannot reach nas: connection refused", {
  op: "memory.read",
  subject: "nas",
});

/** Two albums of three tracks of 300 KiB each, and one track beside them. */
function library(): MoodyOrigin {
  const origin = new MoodyOrigin("nas");
  for (let track = 0; track < 3; track += 1) {
    origin.put(`${ALBUM}/${track}.flac`, noise(300 * KiB, track + 1));
    origin.put(`Ana Vidal/Field Notes/${track}.flac`, noise(300 * KiB, track + 11));
  }
  origin.put("single.flac", noise(100 * KiB, 99));
  return origin;
}

Deno.test("warm() fetches what lies below a path, some files at once, and all of it once", async () => {
  await using dir = await tempDir("warm");
  const origin = library();
  await using rig = new WarmRig(dir.path, [origin]);
  const told: WarmProgress[] = [];
  const options = { ...asked(ALBUM), onProgress: (now: WarmProgress) => told.push(now) };
  const result = await warm(rig.parts, options);
  const { seconds: _, ...counts } = result;
  assert.deepEqual(counts, {
    files: 3,
    bytes: 900 * KiB,
    fetched_bytes: 900 * KiB,
    failed: 0,
    failures: [],
  });
  assert.deepEqual(rig.brought.toSorted(), [0, 1, 2].map((i) => `${ALBUM}/${i}.flac`));
  assert(rig.busiest > 1 && rig.busiest <= 4, `${rig.busiest} at once`);
  assert.deepEqual(told.at(-1), {
    done_files: 3,
    total_files: 3,
    done_bytes: 900 * KiB,
    total_bytes: 900 * KiB,
    fetched_bytes: 900 * KiB,
  });
  const again = await warm(rig.parts, asked(ALBUM));
  assert.equal(again.fetched_bytes, 0);
  assert.equal(rig.brought.length, 3);
  const all = await warm(rig.parts, asked(""));
  assert.equal(all.files, 7);
  assert.equal(all.fetched_bytes, 1_000 * KiB);
});

Deno.test("warm() puts what was asked for before what was read by chance", async () => {
  await using dir = await tempDir("warm");
  const origin = library();
  origin.put("long.flac", noise(1024 * KiB, 7));
  await using rig = new WarmRig(dir.path, [origin]);
  await warm(rig.parts, asked("long.flac"));
  const segments = rig.segmentsOf("long.flac");
  assert(segments.includes(SEGMENT.protected), `${segments}`);
  assert(!segments.includes(SEGMENT.probation), `${segments}`);
});

Deno.test("warm() names what is missing, and fetches nothing of the rest", async () => {
  await using dir = await tempDir("warm");
  await using rig = new WarmRig(dir.path, [library()]);
  const paths = [
    { typed: "single.flac", candidates: ["single.flac"] },
    { typed: "/m/none", candidates: ["none", "m/none"] },
  ];
  await assert.rejects(warm(rig.parts, { paths }), { code: "not_found", message: /"\/m\/none"/ });
  assert.deepEqual(rig.brought, []);
  const second = [{ typed: "x", candidates: ["none", "single.flac"] }];
  assert.equal((await warm(rig.parts, { paths: second })).files, 1);
});

Deno.test("warm() says why a path cannot be looked up, and that nothing is kept", async () => {
  await using dir = await tempDir("warm");
  const origin = library();
  origin.down = DOWN;
  await using rig = new WarmRig(dir.path, [origin]);
  await assert.rejects(warm(rig.parts, asked(ALBUM)), { code: "unavailable" });
  await using off = new WarmRig(dir.path, [library()], { cache: "off" });
  await assert.rejects(warm(off.parts, asked(ALBUM)), {
    code: "invalid",
    message: /cache = "off"/,
  });
});

Deno.test("warm() names the files that fail, goes on, and gives up on a dead origin", async () => {
  await using dir = await tempDir("warm");
  const origin = library();
  await using rig = new WarmRig(dir.path, [origin]);
  await warm(rig.parts, asked("Ana Vidal/Field Notes"));
  await rig.library.scan({ signal: rig.stop.signal });
  origin.remove(`${ALBUM}/1.flac`);
  const one = await warm(rig.parts, asked("Ana Vidal"));
  assert.equal(one.files, 6);
  assert.equal(one.failed, 1);
  assert.equal(one.failures[0]?.path, `${ALBUM}/1.flac`);
  const many = new MoodyOrigin("nas");
  for (let i = 0; i < 50; i += 1) many.put(`${i}.flac`, noise(10 * KiB, i + 1));
  await using dir2 = await tempDir("warm");
  await using dead = new WarmRig(dir2.path, [many]);
  await warm(dead.parts, asked("7.flac"));
  many.read = () => Promise.reject(DOWN);
  const none = await warm(dead.parts, asked("/"));
  assert.equal(none.files, 50);
  assert.equal(none.failed, 49);
  assert.match(none.failures[48]?.error ?? "", /connection refused/);
  assert(dead.brought.length < 10, `${dead.brought.length} files were asked for`);
});

Deno.test("warm() fetches what a file is now, if it changed since it was listed", async () => {
  await using dir = await tempDir("warm");
  const origin = library();
  origin.put("empty.flac", new Uint8Array(0));
  await using rig = new WarmRig(dir.path, [origin]);
  await rig.library.scan({ signal: rig.stop.signal });
  origin.put("single.flac", noise(150 * KiB, 100), 1n);
  const result = await pin(rig.parts, asked("single.flac", "empty.flac"));
  assert.equal(result.failed, 0, JSON.stringify(result.failures));
  assert.equal(result.fetched_bytes, 150 * KiB);
  assert.deepEqual(rig.segmentsOf("single.flac"), [SEGMENT.pinned]);
  const { pins } = await listPins(rig.parts);
  assert.deepEqual(pins.map(({ bytes, missing_bytes }) => [bytes, missing_bytes]), [
    [0, 0],
    [150 * KiB, 0],
  ]);
});

Deno.test("warm() refuses what does not fit into max_size, with the figures", async () => {
  await using dir = await tempDir("warm");
  await using rig = new WarmRig(dir.path, [library()], { limitBytes: 1500 * KiB });
  await assert.rejects(warm(rig.parts, asked("Ana Vidal")), {
    code: "full",
    message:
      /^Cannot warm "Ana Vidal": 6 files would take 1\.\d MiB, and there is room for 1\.\d MiB of max_size, 1\.5 MiB/,
  });
  assert.deepEqual(rig.brought, []);
  assert.equal((await warm(rig.parts, asked(ALBUM))).failed, 0);
});

Deno.test("warm() ends with whoever asked for it", async () => {
  await using dir = await tempDir("warm");
  const origin = library();
  await using rig = new WarmRig(dir.path, [origin]);
  const client = new AbortController();
  origin.hold();
  const running = warm(rig.parts, { ...asked("Ana Vidal"), signal: client.signal });
  while (rig.brought.length < 3) await rig.clock.settle();
  client.abort(new DOMException("gone", "AbortError"));
  await assert.rejects(running, { name: "AbortError" });
  assert.equal(rig.brought.length, 3);
});

Deno.test("pin() keeps a path until unpin(), over a restart", async () => {
  await using dir = await tempDir("pin");
  await using rig = new WarmRig(dir.path, [library()]);
  const result = await pin(rig.parts, asked(ALBUM));
  assert.deepEqual(result.pinned, [ALBUM]);
  assert.equal(result.fetched_bytes, 900 * KiB);
  assert.deepEqual(rig.segmentsOf(`${ALBUM}/2.flac`), [SEGMENT.pinned]);
  const { pins, pinned_bytes } = await listPins(rig.parts);
  assert.deepEqual(pins, [{
    path: ALBUM,
    since_ms: rig.clock.now(),
    files: 3,
    bytes: 900 * KiB,
    missing_bytes: 0,
  }]);
  assert(pinned_bytes >= 900 * KiB);
  await rig.cache.space.evictTo(0);
  assert.deepEqual(rig.segmentsOf(`${ALBUM}/2.flac`), [SEGMENT.pinned]);
  assert.deepEqual(Pins.open(dir.path, silentLog).list().map(({ path }) => path), [ALBUM]);
  await assert.rejects(unpin(rig.parts, asked(`${ALBUM}/2.flac`)), {
    code: "not_found",
    message: /pinned as a part of "Ana Vidal\/Salt Roads"/,
  });
  assert.deepEqual(await unpin(rig.parts, asked("Ana Vidal")), { unpinned: [ALBUM] });
  assert.deepEqual(rig.segmentsOf(`${ALBUM}/2.flac`), [SEGMENT.probation]);
  assert.deepEqual(Pins.open(dir.path, silentLog).list(), []);
  await assert.rejects(unpin(rig.parts, asked(ALBUM)), { message: /is not pinned/ });
});

Deno.test("unpin() leaves pinned what a pinned track shares with another", async () => {
  await using dir = await tempDir("pin");
  const origin = library();
  origin.put("copy.flac", noise(300 * KiB, 1));
  await using rig = new WarmRig(dir.path, [origin]);
  await pin(rig.parts, asked(ALBUM, "copy.flac"));
  await unpin(rig.parts, asked(ALBUM));
  assert.deepEqual(rig.segmentsOf("copy.flac"), [SEGMENT.pinned]);
  assert.deepEqual(rig.segmentsOf(`${ALBUM}/0.flac`), [SEGMENT.pinned]);
  assert.deepEqual(rig.segmentsOf(`${ALBUM}/1.flac`), [SEGMENT.probation]);
});

Deno.test("pin() refuses what would not fit beside what is pinned, with the figures", async () => {
  await using dir = await tempDir("pin");
  await using rig = new WarmRig(dir.path, [library()], { limitBytes: 1500 * KiB });
  await pin(rig.parts, asked(ALBUM));
  const message =
    /^Cannot pin "Ana Vidal\/Field Notes": 3 files .* MiB beside 0\.9 MiB that are pinned, and there is room for 1\.\d MiB of max_size, 1\.5 MiB/;
  await assert.rejects(pin(rig.parts, asked("Ana Vidal/Field Notes")), { code: "full", message });
  assert.deepEqual(rig.pins.list().map(({ path }) => path), [ALBUM]);
  // A part of what is pinned takes nothing more.
  await pin(rig.parts, asked(`${ALBUM}/1.flac`));
  assert.equal((await warm(rig.parts, asked(ALBUM))).failed, 0);
});

Deno.test("pin() stays although not all of it could be fetched", async () => {
  await using dir = await tempDir("pin");
  const origin = library();
  await using rig = new WarmRig(dir.path, [origin]);
  await rig.library.scan({ signal: rig.stop.signal });
  origin.read = () => Promise.reject(DOWN);
  const result = await pin(rig.parts, asked(ALBUM));
  assert.equal(result.failed, 3);
  const { pins } = await listPins(rig.parts);
  assert.equal(pins[0]?.missing_bytes, 900 * KiB);
});
