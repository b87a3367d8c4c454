/** `musicfs index` killed with SIGKILL wherever it writes: there is an index, and it is right. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { silentLog } from "../../src/base/log.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { openChunkHash } from "../../src/chunking/chunk_hash.ts";
import { cutFile } from "../../src/chunking/cut_file.ts";
import { PublishedIndex } from "../../src/library/published_index.ts";
import { walkOrigin } from "../../src/library/scan_origin.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { musicfs } from "../support/daemon.ts";
import { failpointsIn } from "../support/failpoints.ts";
import { type Finished, shell } from "../support/process.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

/** Exit code of what SIGKILL ended. */
const KILLED = 137;

const FILES = 4;
const signal = new AbortController().signal;

Deno.test("musicfs index killed at every failpoint leaves an index, and the next one is whole", async () => {
  await using dir = await tempDir("index-kill");
  const root = join(dir.path, "music");
  for (let i = 0; i < FILES; i += 1) {
    await writeNoise(join(root, `Ana/${i}.flac`), { bytes: 300_000 + i, seed: i });
  }
  const index = (failpoints = ""): Promise<Finished> =>
    musicfs(["index", root, "--json"], {
      env: failpoints === "" ? {} : { MUSICFS_FAILPOINTS: failpoints },
      cwd: dir.path,
    });
  assert.equal((await index()).code, 0);
  // All lists of the first part are of no use any more: it is written anew, and removed.
  for (let i = 0; i < FILES; i += 1) {
    await writeNoise(join(root, `Ana/${i}.flac`), { bytes: 400_000 + i, seed: 10 + i });
  }
  await shell("cp -a music before", { cwd: dir.path });
  const names = await failpointsIn("publish.");
  const { stderr } = await index(names.map((name) => `${name}=print`).join(";"));
  for (const name of names) {
    const count = stderr.split("\n").filter((line) => line.includes(`Failpoint ${name} `)).length;
    assert.ok(count > 0, `nothing here comes to ${name}`);
    for (const hit of new Set([1, count])) {
      await shell("rm -rf music && cp -a before music", { cwd: dir.path });
      const killed = await index(`${name}=${hit - 1}*off->kill`);
      assert.equal(killed.code, KILLED, `${name}, hit ${hit}: ${killed.stderr}`);
      await rightLists(root);
      const { code, stdout } = await index();
      assert.equal(code, 0);
      assert.equal(JSON.parse(stdout).indexed, FILES);
      assert.equal(await rightLists(root), FILES, `${name}, hit ${hit}`);
    }
  }
});

/** Holds every list that the index gives out to the file; how many there are. */
async function rightLists(root: string): Promise<number> {
  await using origin = new LocalOrigin("nas", root, { log: silentLog });
  const index = await PublishedIndex.open(origin, { kind: "local", signal, log: silentLog });
  assert.ok(index, "there is an index");
  assert.equal(index.files, FILES);
  const [chunker, hash] = [new CdcChunker(), await openChunkHash("xxh128")];
  let lists = 0;
  for await (const { entries } of walkOrigin(origin, { signal, hidden: new Set([".musicfs"]) })) {
    for (const file of entries) {
      if (file.kind !== "file") continue;
      const regions = await index.chunks(file, { signal, hash: "xxh128" });
      if (!regions) continue;
      const bytes = await Deno.readFile(join(root, file.path));
      const readRange = (offset: number, length: number): Promise<Uint8Array> =>
        Promise.resolve(bytes.subarray(offset, offset + length));
      assert.deepEqual(regions, await cutFile(bytes.length, { readRange, chunker, hash }));
      lists += 1;
    }
  }
  return lists;
}
