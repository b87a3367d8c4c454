import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import { partPath } from "../../src/library/published_format.ts";
import { PublishedIndexes } from "../../src/mount/published_indexes.ts";
import type { CallOptions, OriginEntry } from "../../src/origins/origin.ts";
import { sizeTimeVersion } from "../../src/origins/size_time_version.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { publish } from "../library/published_fixture.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const INDEX = ".musicfs/index";
const SIZE = 3;
const { signal } = new AbortController();

/** Counts looks, and can be down. */
class WatchedOrigin extends MemoryOrigin {
  stats = 0;
  down: Error | undefined;

  override stat(path: string, options: CallOptions): Promise<OriginEntry> {
    this.stats += 1;
    return this.down ? Promise.reject(this.down) : super.stat(path, options);
  }

  /** What it was asked for, since the last time. */
  calls(): { stats: number; reads: number } {
    const counts = { stats: this.stats, reads: this.reads.length };
    this.stats = this.reads.length = 0;
    return counts;
  }

  /** Publishes chunk lists for one file whose bytes are the digits of a number. */
  async publish(number: number): Promise<void> {
    const regions = await regionsOf(number);
    const { index, part } = await publish([
      { path: "", kind: "folder" },
      { path: "song", kind: "file", size: SIZE, mtimeNs: BigInt(number), regions },
    ]);
    this.put(partPath(part.id), part.bytes);
    this.put(INDEX, index);
  }
}

async function regionsOf(number: number): Promise<ChunkRegion[]> {
  const hash = await openChunkHash("xxh128");
  const bytes = new TextEncoder().encode(String(number).padStart(SIZE, "0"));
  return [{ kind: "whole", chunks: [{ hash: hash.digest(bytes), length: SIZE }] }];
}

function versionOf(number: number, origin = "nas"): FileVersion {
  const mtimeNs = BigInt(number);
  const version = sizeTimeVersion(SIZE, mtimeNs);
  return { id: number, size: SIZE, mtimeNs, sources: [{ origin, path: "song", version }] };
}

function open(
  ...origins: MemoryOrigin[]
): { indexes: PublishedIndexes; clock: VirtualClock; down: Set<string> } {
  const clock = new VirtualClock();
  const down = new Set<string>();
  const indexes = new PublishedIndexes({
    origins: origins.map((origin) => ({ origin, url: `/${origin.name}` })),
    isUp: (name) => !down.has(name),
    hash: "xxh128",
    clock,
    log: silentLog,
  });
  return { indexes, clock, down };
}

Deno.test("PublishedIndexes opens an index once, for names and for chunks", async () => {
  const nas = new WatchedOrigin("nas");
  await nas.publish(7);
  const { indexes } = open(nas);
  const [names, same, chunks] = await Promise.all([
    indexes.names("nas", signal),
    indexes.names("nas", signal),
    indexes.chunks(versionOf(7), signal),
  ]);
  assert.equal(names?.files, 1);
  assert.equal(names, same);
  assert.deepEqual(chunks, await regionsOf(7));
  assert.deepEqual(await indexes.chunks(versionOf(7), signal), chunks);
  assert.equal(nas.reads.filter(({ path }) => path === INDEX).length, 1);
  assert.equal(await indexes.names("other", signal), undefined);
});

Deno.test("PublishedIndexes.chunks() looks for a newer index when its own does not know the version", async () => {
  const nas = new WatchedOrigin("nas");
  await nas.publish(7);
  const { indexes, clock } = open(nas);
  await indexes.chunks(versionOf(7), signal);
  nas.calls();
  assert.equal(await indexes.chunks(versionOf(8), signal), undefined);
  assert.deepEqual(nas.calls(), { stats: 0, reads: 0 }, "it was looked at just now");
  await nas.publish(8);
  await clock.advance(5_000);
  assert.deepEqual(await indexes.chunks(versionOf(8), signal), await regionsOf(8));
  await clock.advance(5_000);
  nas.calls();
  assert.equal(await indexes.chunks(versionOf(9), signal), undefined);
  assert.deepEqual(nas.calls(), { stats: 1, reads: 0 }, "it is the same index still");
});

Deno.test("PublishedIndexes asks an origin without an index once, until a scan has ended", async () => {
  const nas = new WatchedOrigin("nas");
  const { indexes, clock } = open(nas);
  for (let i = 0; i < 3; i += 1) {
    assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
    await clock.advance(10_000);
  }
  assert.deepEqual(nas.calls(), { stats: 1, reads: 0 });
  await nas.publish(7);
  assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
  await indexes.lookAgain(signal);
  assert.deepEqual(nas.calls(), { stats: 1, reads: 0 });
  assert.deepEqual(await indexes.chunks(versionOf(7), signal), await regionsOf(7));
});

Deno.test("PublishedIndexes.chunks() finds an index that was made after files changed", async () => {
  const nas = new WatchedOrigin("nas");
  const { indexes } = open(nas);
  assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
  await nas.publish(7);
  assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
  indexes.doubt();
  assert.deepEqual(await indexes.chunks(versionOf(7), signal), await regionsOf(7));
});

Deno.test("PublishedIndexes.chunks() asks nothing of an origin that is down", async () => {
  const nas = new WatchedOrigin("nas");
  await nas.publish(7);
  const { indexes, down } = open(nas);
  down.add("nas");
  assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
  assert.deepEqual(nas.calls(), { stats: 0, reads: 0 });
  down.clear();
  assert.deepEqual(await indexes.chunks(versionOf(7), signal), await regionsOf(7));
});

Deno.test("PublishedIndexes reads an index that cannot be used once, and again when it is another", async () => {
  const nas = new WatchedOrigin("nas");
  nas.put(INDEX, new Uint8Array(1_000));
  const { indexes } = open(nas);
  for (let i = 0; i < 3; i += 1) {
    assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
    await indexes.lookAgain(signal);
  }
  assert(nas.calls().reads <= 2);
  assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
  assert.equal(nas.calls().reads, 0);
  await nas.publish(7);
  await indexes.lookAgain(signal);
  assert.deepEqual(await indexes.chunks(versionOf(7), signal), await regionsOf(7));
});

Deno.test("PublishedIndexes.chunks() takes the index of any origin that holds the same bytes", async () => {
  const [nas, bare] = [new WatchedOrigin("nas"), new WatchedOrigin("bare")];
  await nas.publish(7);
  const { indexes } = open(bare, nas);
  const [mine] = versionOf(7, "bare").sources;
  const [other] = versionOf(7).sources;
  const version: FileVersion = { ...versionOf(7), sources: [mine, other] };
  assert.deepEqual(
    await indexes.chunks(version, signal),
    await regionsOf(7),
  );
});

Deno.test("PublishedIndexes.chunks() knows nothing where the origin fails, and throws its caller's reason", async () => {
  const nas = new WatchedOrigin("nas");
  await nas.publish(7);
  const { indexes } = open(nas);
  nas.down = new MusicfsError("unavailable", "down", { op: "test", subject: "nas" });
  assert.equal(await indexes.chunks(versionOf(7), signal), undefined);
  nas.down = undefined;
  await indexes.lookAgain(signal);
  await indexes.names("nas", signal);
  nas.hold();
  const leaving = new AbortController();
  const asked = indexes.chunks(versionOf(7), leaving.signal);
  leaving.abort(new Error("left"));
  await assert.rejects(asked, /left/);
  nas.release();
});

Deno.test("PublishedIndexes.chunks() does not wait long for an index that is slow to come", async () => {
  const nas = new WatchedOrigin("nas");
  await nas.publish(7);
  nas.hold();
  const { indexes, clock } = open(nas);
  const asked = indexes.chunks(versionOf(7), signal);
  for (let i = 0; i < 13; i += 1) await clock.advance(250);
  assert.equal(await asked, undefined);
  nas.release();
  await indexes.names("nas", signal);
  assert.deepEqual(await indexes.chunks(versionOf(7), signal), await regionsOf(7));
});

Deno.test("PublishedIndexes lets go of an index that nobody asked from one scan to the next", async () => {
  const nas = new WatchedOrigin("nas");
  await nas.publish(7);
  const { indexes } = open(nas);
  await indexes.names("nas", signal);
  await indexes.lookAgain(signal);
  nas.calls();
  await indexes.chunks(versionOf(7), signal);
  assert.equal(nas.reads.filter(({ path }) => path === INDEX).length, 1);
  await indexes.lookAgain(signal);
  nas.calls();
  await indexes.chunks(versionOf(7), signal);
  assert.equal(nas.reads.filter(({ path }) => path === INDEX).length, 0);
});
