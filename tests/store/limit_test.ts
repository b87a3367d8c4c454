import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { CacheIndex } from "../../src/store/cache_index.ts";
import { DiskCasStore } from "../../src/store/disk_cas_store.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";
import { CacheDisk } from "../../src/store/passthrough.ts";
import { Space } from "../../src/store/space.ts";
import { tempDir } from "../support/temp_dir.ts";
import { diskUsage } from "./cache_fixture.ts";

const MIB = 1024 * 1024;
const LIMIT_BYTES = 16 * MIB;
const CHUNK_BYTES = 65_536;

Deno.test("Space keeps du below the limit with the real index, which grows as lists do", async () => {
  await using dir = await tempDir("limit");
  const cacheDir = dir.path;
  await Deno.mkdir(`${cacheDir}/index`);
  const hash = await openChunkHash("xxh128");
  const index = openEnvironment({
    dir: `${cacheDir}/index`,
    shared: new SharedArrayBuffer(64),
    hash: await openXxh64(),
    writable: true,
    newEpoch: "ab".repeat(16),
  });
  assert.ok(index);
  await using _ = index;
  const parts = { cacheDir, index, clock: systemClock, log: silentLog };
  const cacheIndex = new CacheIndex(index, systemClock);
  const space = new Space({ ...parts, cacheIndex, limitBytes: LIMIT_BYTES });
  const disk = new CacheDisk(parts);
  const store = new DiskCasStore({ cacheDir, hash, cacheIndex, space, disk });

  const bytes = new Uint8Array(CHUNK_BYTES);
  const lists = index.table("manifests");
  let most = 0;
  let list: { hash: Uint8Array; length: number }[] = [];
  for (let n = 0; n < 1000; n += 1) {
    new DataView(bytes.buffer).setUint32(0, n);
    const name = hash.digest(bytes);
    store.put(name, bytes);
    list.push({ hash: name, length: CHUNK_BYTES });
    if (list.length < 20) continue;
    const version = 2 ** 20 * n + 1;
    index.transaction(() => {
      lists.put(new TextEncoder().encode(`${version}`), new Uint8Array(20 * 480));
      cacheIndex.reference(list, version);
    });
    list = [];
    most = Math.max(most, diskUsage(cacheDir));
  }

  assert.ok(most <= LIMIT_BYTES, `${most}`);
  assert.ok(most >= 0.8 * LIMIT_BYTES, `${most}`);
  assert.deepEqual(cacheIndex.recount(), cacheIndex.totals());
});
