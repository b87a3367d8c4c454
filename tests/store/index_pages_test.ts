import assert from "node:assert/strict";
import { pagesFault } from "../../src/store/index_pages.ts";
import { probeHere } from "../../src/store/index_probe.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { writeSample } from "../support/index_opener.ts";
import { tempDir } from "../support/temp_dir.ts";

const PAGE = 4096;
const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

/** data.mdb as lmdb-js writes it: deep trees, long values, and pages that are free again. */
async function sample(): Promise<Uint8Array<ArrayBuffer>> {
  await using dir = await tempDir("pages");
  const hash = await openXxh64();
  const shared = new SharedArrayBuffer(4);
  const options = { dir: dir.path, shared, hash, writable: true, newEpoch: "0".repeat(32) };
  {
    await using index = openEnvironment(options);
    writeSample(index, 600);
  }
  return await Deno.readFile(`${dir.path}/data.mdb`);
}

const file = await sample();
const view = new DataView(file.buffer);
const meta = view.getBigUint64(0x98, true) > view.getBigUint64(PAGE + 0x98, true) ? 0 : PAGE;
const roots = [0x58, 0x88].map((at) => Number(view.getBigUint64(meta + at, true)));

/** What is wrong once `change` was made. */
async function faultAfter(change: (view: DataView) => void): Promise<string | undefined> {
  await using dir = await tempDir("pages");
  const copy = file.slice();
  change(new DataView(copy.buffer));
  await Deno.writeFile(`${dir.path}/data.mdb`, copy);
  return pagesFault(`${dir.path}/data.mdb`);
}

Deno.test("pagesFault() finds nothing wrong with what lmdb-js wrote, and with no file", async () => {
  assert.equal(await faultAfter(() => {}), undefined);
  assert.equal(pagesFault("/nonexistent/data.mdb"), undefined);
});

for (const [i, name] of ["the free list's root", "the root of all tables"].entries()) {
  Deno.test(`pagesFault() finds a wrong page number in ${name}, which no read would meet`, async () => {
    const page = roots[i] ?? 0;
    const fault = await faultAfter((view) => view.setBigUint64(page * PAGE, 12_345_678_901n, true));
    assert.equal(fault, `page ${page} says that it is page 12345678901`);
  });
}

Deno.test("pagesFault() follows every page that is in use: tables, branches, leaves, long values", async () => {
  // Only pages that say what they are can be in use; some of those are free.
  const pages = Array.from({ length: file.length / PAGE - 2 }, (_none, i) => i + 2)
    .filter((page) => view.getBigUint64(page * PAGE, true) === BigInt(page));
  const tried = pages.filter((_page, i) => i % Math.ceil(pages.length / 80) === 0);
  let found = 0;
  for (const page of tried) {
    const fault = await faultAfter((view) => view.setBigUint64(page * PAGE, 1n, true));
    if (fault === `page ${page} says that it is page 1`) found += 1;
  }
  assert(found > 15 && found > tried.length / 3, `${found} of ${tried.length}`);
});

Deno.test("pagesFault() finds pages of the wrong kind, and nodes that lead outside", async () => {
  const at = (roots[1] ?? 0) * PAGE;
  assert.match(`${await faultAfter((view) => view.setUint16(at + 0x12, 4, true))}`, /of kind 4/);
  assert.match(`${await faultAfter((view) => view.setUint16(at + 0x14, 9_000, true))}`, /nodes?/);
  assert.match(`${await faultAfter((view) => view.setUint16(at + 24, 5_000, true))}`, /outside/);
});

Deno.test("the probe finds a wrong page number that only a commit would meet", async () => {
  await using dir = await tempDir("pages");
  await Deno.writeFile(`${dir.path}/data.mdb`, file);
  assert.equal(await probeHere(dir.path), "ok");
  const copy = file.slice();
  new DataView(copy.buffer).setBigUint64((roots[1] ?? 0) * PAGE, 12_345_678_901n, true);
  await Deno.writeFile(`${dir.path}/data.mdb`, copy);
  assert.deepEqual(await probeHere(dir.path), {
    bad: `page ${roots[1]} says that it is page 12345678901`,
  });
});

Deno.test("pagesFault() takes no page for damaged because another process commits meanwhile", async () => {
  await using dir = await tempDir("pages");
  const committer = new URL("../support/index_committer.ts", import.meta.url).pathname;
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--cached-only", "--config", CONFIG, committer, dir.path],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  assert.equal(new TextDecoder().decode((await reader.read()).value), "ready");
  for (let walk = 0; walk < 150; walk += 1) {
    assert.equal(pagesFault(`${dir.path}/data.mdb`), undefined);
  }
  child.kill("SIGKILL");
  await reader.cancel();
});
