import assert from "node:assert/strict";
import { ChunkList } from "../../src/chunking/chunk_list.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { tempDir } from "../support/temp_dir.ts";
import { DeltaRig, edited, type FileOptions, regionsOf, TIME_NS, track } from "./delta_rig.ts";
import { assertSameBytes, KiB, MiB, noise } from "./rig.ts";

const MD5 = "0123456789abcdef0123456789abcdef";
const OTHER_MD5 = "f".repeat(32);

/** Where `flacFile` puts the MD5: behind mark, block header and 18 bytes of STREAMINFO. */
const MD5_AT = 4 + 4 + 18;

/** A track whose encoder did not know the MD5. */
function trackWithoutMd5(): Uint8Array<ArrayBuffer> {
  const bytes = track();
  bytes.fill(0, MD5_AT, MD5_AT + 16);
  return bytes;
}

/** The file with bytes inserted at `at`. */
function withMore(bytes: Uint8Array, at: number): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(bytes.length + 1000);
  longer.set(bytes.subarray(0, at));
  longer.set(bytes.subarray(at), at + 1000);
  return longer;
}

interface Case {
  name: string;
  /** What is cached, and its name, time and version. */
  old: Uint8Array<ArrayBuffer>;
  oldOptions?: FileOptions;
  now: Uint8Array<ArrayBuffer>;
  nowOptions?: FileOptions;
  /** Most bytes that are fetched; all of the file if nothing is to be taken over. */
  most: number | "all";
  trustAudioMd5?: boolean;
  /** Whether the cached file is an earlier version of the other; default no. */
  isEarlier?: boolean;
}

const TIME = { mtimeNs: TIME_NS };
const plain = track();
const wave = noise(1 * MiB, 9);

const CASES: Case[] = [
  // The same strong ETag and size.
  ...[MD5, `"${MD5}"`, MD5.toUpperCase(), `${MD5}-12`].map((version) => ({
    name: `the ETag ${version}`,
    old: plain,
    oldOptions: { version },
    now: plain,
    nowOptions: { version: version.toLowerCase() },
    most: 0,
  })),
  ...[`W/"${MD5}"`, "0".repeat(32), `${"0".repeat(32)}-1`, "some-tag", `${plain.length}-17`].map(
    (version): Case => ({
      name: `the weak ETag ${version}`,
      old: plain,
      oldOptions: { version },
      now: plain,
      nowOptions: { version },
      most: "all",
    }),
  ),
  {
    name: "another ETag",
    old: plain,
    oldOptions: { version: MD5 },
    now: edited(plain, 500_000),
    nowOptions: { version: OTHER_MD5 },
    most: "all",
  },
  // The same size and time.
  {
    name: "FLAC's size and time",
    old: plain,
    oldOptions: TIME,
    now: plain,
    nowOptions: TIME,
    most: KiB,
  },
  {
    name: "FLAC's size and time, other metadata",
    old: plain,
    oldOptions: TIME,
    now: track({ seed: 2 }),
    nowOptions: TIME,
    most: "all",
  },
  {
    name: "FLAC's size, and another time",
    old: plain,
    oldOptions: TIME,
    now: plain,
    nowOptions: { mtimeNs: TIME_NS + 1n },
    most: "all",
  },
  { name: "a size, and no time", old: wave, now: wave, most: "all" },
  {
    name: "size, time and both ends",
    old: wave,
    oldOptions: TIME,
    now: wave,
    nowOptions: TIME,
    most: 32 * KiB,
  },
  ...[0, wave.length - 100].map((at): Case => ({
    name: `size and time, other bytes at ${at}`,
    old: wave,
    oldOptions: TIME,
    now: edited(wave, at),
    nowOptions: TIME,
    most: "all",
  })),
  {
    name: "size, time and both ends of FLAC without an MD5",
    old: trackWithoutMd5(),
    oldOptions: TIME,
    now: trackWithoutMd5(),
    nowOptions: TIME,
    most: 32 * KiB,
  },
  {
    name: "FLAC without an MD5, other bytes at its end",
    old: trackWithoutMd5(),
    oldOptions: TIME,
    now: edited(trackWithoutMd5(), plain.length - 200),
    nowOptions: TIME,
    most: "all",
  },
  {
    name: "FLAC's metadata where its MD5 is not trusted, other bytes at its end",
    old: plain,
    oldOptions: TIME,
    now: edited(plain, plain.length - 200),
    nowOptions: TIME,
    most: "all",
    trustAudioMd5: false,
  },
  {
    name: "size and time of an earlier version of the same file",
    old: plain,
    oldOptions: TIME,
    now: edited(plain, 500_000),
    nowOptions: TIME,
    most: "all",
    isEarlier: true,
  },
  // FLAC with other tags.
  ...[true, false].map((isEarlier) => ({
    name: `FLAC with longer tags, ${isEarlier ? "the same file" : "another name"}`,
    old: plain,
    now: track({ tags: { COMMENT: "x".repeat(100_000) } }),
    // Without an earlier version the first read is as long as it is, here 256 KiB.
    most: isEarlier ? 100_000 + 160 * KiB : 256 * KiB + 48 * KiB,
    isEarlier,
  })),
  {
    name: "FLAC with other tags of the same length",
    old: plain,
    now: track({ tags: { TITLE: "B" } }),
    most: 160 * KiB,
    isEarlier: true,
  },
  {
    name: "FLAC with longer tags, its MD5 not trusted",
    old: plain,
    now: track({ tags: { COMMENT: "x".repeat(100_000) } }),
    most: "all",
    isEarlier: true,
    trustAudioMd5: false,
  },
  {
    name: "FLAC with the very same metadata",
    old: plain,
    now: edited(plain, 500_000),
    most: "all",
    isEarlier: true,
  },
  {
    name: "FLAC with longer tags and other sound",
    old: plain,
    now: track({ seed: 2, tags: { TITLE: "longer" } }),
    most: "all",
    isEarlier: true,
  },
  {
    name: "FLAC with longer tags and no MD5",
    old: trackWithoutMd5(),
    now: edited(track({ tags: { TITLE: "longer" } }), MD5_AT, 0).fill(0, MD5_AT, MD5_AT + 16),
    most: "all",
    isEarlier: true,
  },
  {
    name: "FLAC with longer tags, cut short",
    old: plain,
    now: track({ tags: { TITLE: "longer" } }).slice(0, -100),
    most: "all",
    isEarlier: true,
  },
  {
    name: "FLAC with longer tags and more audio in the middle",
    old: plain,
    now: withMore(track({ tags: { TITLE: "longer" } }), 500_000),
    most: "all",
    isEarlier: true,
  },
  ...[1_000, -1_000].map((at): Case => {
    const now = track({ tags: { TITLE: "longer" } });
    return {
      name: `FLAC with longer tags, other bytes at ${at}`,
      old: plain,
      now: edited(now, at < 0 ? now.length + at : at),
      most: "all",
      isEarlier: true,
    };
  }),
];

Deno.test("FileReader.read() takes over what is proven the same, and nothing else", async (t) => {
  for (const { name, old, now, most, trustAudioMd5, isEarlier = false, ...options } of CASES) {
    await t.step(`${most === "all" ? "not " : ""}by ${name}`, async () => {
      await using dir = await tempDir();
      const ids: { id: number }[] = [];
      const delta = { predecessors: () => ids, trustAudioMd5 };
      await using rig = new DeltaRig(dir.path, { delta });
      const { id } = await rig.cached(old, { path: "old.flac", ...options.oldOptions });
      if (isEarlier) ids.push({ id });
      const version = rig.add(now, { path: "new.flac", ...options.nowOptions });
      const found = await rig.readThrough(version);
      assertSameBytes(found.bytes, now);
      assert.equal(rig.rig.reader.stats().derivedVersions, most === "all" ? 0 : 1);
      if (most !== "all") assert(found.asked <= most, `${found.asked} of ${most}`);
      // What was fetched to no avail was kept: no byte comes twice, but for parts of blocks.
      else assert(found.asked <= now.length + 48 * KiB, `${found.asked} of ${now.length}`);
    });
  }
});

Deno.test("FileReader.read() with the ETag of another origin's file fetches it", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  const { id, size, sources: [source] } = await rig.cached(plain, { version: MD5 });
  const list = rig.rig.manifests.list(id);
  assert(list);
  const elsewhere: FileVersion = {
    id: 7,
    size,
    mtimeNs: 0n,
    sources: [{ ...source, origin: "bucket" }],
  };
  rig.rig.manifests.put(elsewhere, list);
  rig.rig.manifests.remove(id);
  const found = await rig.readThrough(rig.add(plain, { version: MD5 }));
  assert.equal(found.asked, plain.length);
});

Deno.test("FileReader.read() takes nothing for the same of which the proof is not here", async () => {
  for (const [at, most] of [[0, "all"], [600_000, KiB]] as const) {
    await using dir = await tempDir();
    await using rig = new DeltaRig(dir.path);
    const old = await rig.cached(plain, { path: "old.flac", ...TIME });
    const list = rig.rig.manifests.listOf(old);
    const lost = list.indexAt(at);
    rig.rig.store.delete(list.hash(lost));
    const found = await rig.readThrough(rig.add(plain, { path: "new.flac", ...TIME }));
    assertSameBytes(found.bytes, plain);
    // A chunk that is not here is fetched, exactly.
    const expected = most === "all" ? plain.length : list.length(lost) + most;
    assert(
      found.asked <= expected && found.asked >= expected - KiB,
      `${found.asked} of ${expected}`,
    );
  }
});

Deno.test("FileReader.read() takes over the part that is here of a file, and fetches the rest", async () => {
  await using dir = await tempDir();
  const ids: { id: number }[] = [];
  await using rig = new DeltaRig(dir.path, { delta: { predecessors: () => ids } });
  const old = rig.add(plain, { path: "old.flac", ...TIME });
  const half = ChunkList.empty(plain.length, 16);
  const regions = await regionsOf(plain);
  rig.storeAll(plain, regions);
  let list = half;
  for (const { kind, chunks } of regions) {
    list = list.append(kind === "audio" ? chunks.slice(0, 5) : chunks, { kind });
  }
  rig.rig.manifests.put(old, list);
  const moved = await rig.readThrough(rig.add(plain, { path: "new.flac", ...TIME }));
  assertSameBytes(moved.bytes, plain);
  assert(moved.asked < plain.length - list.frontier + 48 * KiB, `${moved.asked}`);
});

Deno.test("FileReader.read() takes an edit for one even if an earlier version differs in its tags", async () => {
  await using dir = await tempDir();
  const ids: { id: number }[] = [];
  await using rig = new DeltaRig(dir.path, { delta: { predecessors: () => ids } });
  const longer = track({ tags: { TITLE: "longer" } });
  ids.unshift(await rig.cached(plain));
  // Of the version in between only the head was read: there is no list of it.
  const middle = rig.add(longer);
  rig.rig.extents.write(middle, 0, longer.slice(0, 64 * KiB));
  ids.unshift(middle);
  const now = edited(longer, 500_000);
  assertSameBytes((await rig.readThrough(rig.add(now))).bytes, now);
});

Deno.test("FileReader.read() asks nothing more of a file that has nothing in common with any", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path, { delta: { predecessors: () => [] } });
  await rig.cached(plain, { version: MD5, ...TIME });
  const version = rig.add(noise(3 * MiB), { path: "other.mp3", mtimeNs: 5n });
  await rig.rig.read(version, 64 * KiB, 32 * KiB);
  assert.deepEqual(rig.origin.reads.map(({ offset, length }) => [offset, length]), [
    [64 * KiB, 32 * KiB],
  ]);
});

Deno.test("FileReader.read() fetches the head of a new FLAC file once, in one round trip", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  await rig.cached(plain);
  const tags = { COMMENT: "x".repeat(200_000) };
  await rig.rig.read(rig.add(track({ seed: 3, tags })), 0, 128 * KiB);
  await rig.rig.read(rig.add(track({ seed: 4, tags })), 0, 4 * KiB);
  assert.deepEqual(rig.origin.reads.map(({ offset, length }) => [offset, length]), [
    [0, 128 * KiB],
    [0, 16 * KiB],
  ]);
});

Deno.test("FileReader.read() of a new FLAC file's head goes for its tail beside it, known audio or not", async () => {
  for (const isAudioKnown of [false, true]) {
    await using dir = await tempDir();
    await using rig = new DeltaRig(dir.path);
    if (isAudioKnown) await rig.cached(plain);
    const tail = 32 * KiB;
    for (let seed = 10; seed < 16; seed += 1) {
      const version = rig.add(track({ seed }));
      await rig.rig.read(version, 0, 64 * KiB, seed);
      const before = rig.origin.reads.length;
      await rig.rig.read(version, version.size - tail, tail, seed);
      // After three files it is known that tails are read, too.
      const most = seed < 14 ? 1 : 0;
      assert(rig.origin.reads.length - before <= most, `${seed}: ${isAudioKnown}`);
    }
  }
});

Deno.test("FileReader.bringAll() of a FLAC file with other tags and another name fetches no more than its head", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  await rig.cached(plain);
  const version = rig.add(track({ tags: { COMMENT: "x".repeat(100_000) } }));
  await rig.rig.reader.bringAll(version, { signal: new AbortController().signal });
  assert(rig.origin.bytesRead <= 100_000 + 160 * KiB, `${rig.origin.bytesRead}`);
});

Deno.test("FileReader settles a version once, whoever comes, and before anything is fetched", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  await rig.cached(plain, { path: "old.flac", ...TIME });
  const version = rig.add(plain, { path: "new.flac", ...TIME });
  rig.origin.hold();
  const { signal } = new AbortController();
  const leaver = new AbortController();
  const left = rig.rig.reader.read(version, { offset: 0, length: 9 }, {
    signal: leaver.signal,
    handle: 1,
  });
  const all = [
    rig.rig.read(version, 0, 100 * KiB, 2),
    rig.rig.read(version, 500_000, 100 * KiB, 3),
    rig.rig.reader.bringAll(version, { signal }),
  ];
  leaver.abort(new Error("gone"));
  await assert.rejects(left, /gone/);
  rig.origin.release();
  await Promise.all(all);
  assert.equal(rig.origin.reads.length, 1);
  assert(rig.origin.bytesRead < KiB);
});

Deno.test("FileReader.read() fetches a copy of a file that is still there, for it may have been edited", async (t) => {
  const middle = edited(plain, Math.floor(plain.length / 2));
  const retagged = track({ tags: { TITLE: "Another" } });
  for (const [name, now] of [["edited", middle], ["retagged", retagged]] as const) {
    await t.step(name, async () => {
      await using dir = await tempDir();
      const current = new Set<number>();
      const delta = { isCurrent: (id: number): boolean => current.has(id) };
      await using rig = new DeltaRig(dir.path, { delta });
      const { id } = await rig.cached(plain, { path: "base.flac", ...TIME });
      current.add(id);
      const copy = await rig.readThrough(rig.add(now, { path: "copy.flac", ...TIME }));
      assertSameBytes(copy.bytes, now);
      assert(copy.asked >= now.length, `${copy.asked} bytes were asked for`);
    });
  }
});

Deno.test("FileReader.bringAll() and pin() of a moved file fetch no audio, and hold its chunks", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  await rig.cached(plain, { path: "old.flac", ...TIME });
  const version = rig.add(plain, { path: "new.flac", ...TIME });
  rig.rig.reader.pin(version);
  const { signal } = new AbortController();
  const brought = await rig.rig.reader.bringAll(version, { signal });
  assert(brought < KiB, `${brought}`);
  assert.equal(rig.origin.bytesRead, brought);
  const pinned = rig.rig.cacheIndex.totals().pinnedBytes;
  assert(pinned >= plain.length, `${pinned}`);
});

Deno.test("FileReader.read() goes the plain way when the origin fails to say what it has, and tries again", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path, { readTimeoutMs: 100 });
  await rig.cached(plain, { path: "old.flac", ...TIME });
  const version = rig.add(plain, { path: "new.flac", ...TIME });
  rig.origin.remove("new.flac");
  await assert.rejects(rig.rig.read(version, 0, 10), { code: "not_found" });
  assert.equal(rig.rig.reader.stats().derivedVersions, 0);
  rig.origin.put("new.flac", plain, TIME_NS, version.sources[0].version);
  const found = await rig.readThrough(version);
  assertSameBytes(found.bytes, plain);
});

Deno.test("CachedReader sees a derived list, and that it was given up", async () => {
  await using dir = await tempDir();
  const now = noise(1 * MiB, 4);
  const forged = noise(1 * MiB, 5);
  forged.set(now.subarray(0, 300 * KiB));
  forged.set(now.subarray(-300 * KiB), MiB - 300 * KiB);
  const regions = await regionsOf(forged);
  let asked = 0;
  const publishedList = (): Promise<ChunkRegion[]> => {
    asked += 1;
    return Promise.resolve(regions);
  };
  const refused: number[] = [];
  const onRefused = ({ id }: FileVersion): void => void refused.push(id);
  await using rig = new DeltaRig(dir.path, { delta: { publishedList, onRefused } });
  rig.storeAll(forged, regions);
  const version = rig.add(now, { path: "forged.bin" });
  const worker = rig.rig.cachedReader();
  const into = new Uint8Array(64 * KiB);
  await rig.rig.read(version, 0, 10);
  assert.equal(asked, 1);
  assert.equal(worker.read(version.id, 0, into), into.length);
  assert(worker.isWhole(version.id));

  // A chunk in the middle is lost, and the origin has other bytes there.
  const list = rig.rig.manifests.listOf(version);
  rig.rig.store.delete(list.hash(list.indexAt(500_000)));
  const lost = list.start(list.indexAt(500_000));
  assert.equal(worker.read(version.id, lost, into), -1);
  const found = await rig.rig.read(version, lost - 1000, 64 * KiB);
  assertSameBytes(found, now.subarray(lost - 1000, lost - 1000 + 64 * KiB));
  assert.deepEqual(refused, [version.id]);
  assert.equal(rig.rig.reader.stats().refusedVersions, 1);
  assert.equal(worker.read(version.id, 400 * KiB, into), -1);
  assertSameBytes((await rig.readThrough(version)).bytes, now);
  assert.equal(asked, 1);
});

Deno.test("FileReader.read() trusts no MD5 that two files have and not the same audio", async () => {
  await using dir = await tempDir();
  await using rig = new DeltaRig(dir.path);
  await rig.cached(plain);
  await rig.cached(edited(track({ tags: { TITLE: "another" } }), 500_000));
  const now = track({ tags: { TITLE: "longer than those" } });
  assertSameBytes((await rig.readThrough(rig.add(now))).bytes, now);
  assert.equal(rig.rig.reader.stats().derivedVersions, 0);
});

Deno.test("FileReader.read() takes no audio while the latest earlier version's metadata is lost", async () => {
  await using dir = await tempDir();
  const ids: { id: number }[] = [];
  await using rig = new DeltaRig(dir.path, { delta: { predecessors: () => ids } });
  const longer = track({ tags: { TITLE: "longer" } });
  ids.unshift(await rig.cached(plain));
  const latest = await rig.cached(longer);
  ids.unshift(latest);
  rig.rig.store.delete(rig.rig.manifests.listOf(latest).hash(0));
  const now = edited(longer, 500_000);
  assertSameBytes((await rig.readThrough(rig.add(now))).bytes, now);
});
