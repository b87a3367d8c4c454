import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { libc, statPath } from "../../src/base/posix.ts";
import { type FolderNames, openFolder, readFolder } from "../../src/origins/local_folder.ts";
import { tempDir } from "../support/temp_dir.ts";

const { signal } = new AbortController();

function diskOf(path: string): string {
  const status = statPath(path);
  if (typeof status === "number") throw new Error(`No ${path}`);
  return `${status.deviceMajor}:${status.deviceMinor}`;
}

async function read(path: string, disk: string | undefined): Promise<FolderNames> {
  const descriptor = await openFolder(path);
  assert(descriptor !== undefined);
  const found = await readFolder(descriptor, { disk, signal });
  libc.close(descriptor);
  assert(found);
  return found;
}

async function sh(command: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("sh", { args: ["-c", command] }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}

Deno.test("readFolder() describes what the kernel knows by heart, on that disk alone", async () => {
  await using dir = await tempDir("folder");
  await Deno.mkdir(`${dir.path}/sub`);
  await Deno.writeFile(`${dir.path}/song \u{1F3B5}`, new Uint8Array(5));
  await Deno.symlink("sub", `${dir.path}/link`);
  const { names, statuses } = await read(dir.path, diskOf(dir.path));
  const found = new Map(names.map((name, i) => [name, statuses[i]]));
  assert.deepEqual([...found.keys()].sort(), ["link", "song \u{1F3B5}", "sub"]);
  for (const [name, status] of found) {
    const expected = statPath(`${dir.path}/${name}`);
    assert(typeof expected !== "number");
    const { mode, size, mtimeNs } = expected;
    assert.deepEqual(status, { mode, size, mtimeNs });
  }
  for (const disk of ["0:0", undefined]) {
    const other = await read(dir.path, disk);
    assert.deepEqual(other.names.toSorted(), [...found.keys()].sort());
    assert.deepEqual(other.statuses, [undefined, undefined, undefined]);
  }
});

Deno.test("readFolder() reads a folder of many pieces, and counts names that are not UTF-8", async () => {
  await using dir = await tempDir("folder");
  const expected = Array.from({ length: 2_000 }, (_, i) => `${i} ${"n".repeat(60)}`);
  for (const name of expected) await Deno.writeFile(`${dir.path}/${name}`, new Uint8Array());
  await sh(`cd '${dir.path}' && touch "$(printf 'a\\377')" "$(printf 'b\\355\\240\\200')"`);
  let progress = 0;
  const descriptor = await openFolder(dir.path);
  assert(descriptor !== undefined);
  const disk = diskOf(dir.path);
  const found = await readFolder(descriptor, { disk, signal, onProgress: () => progress += 1 });
  libc.close(descriptor);
  assert.deepEqual(found?.names.toSorted(), expected.toSorted());
  assert(found?.statuses.every((status) => status?.size === 0));
  assert.equal(found?.notUtf8, 2);
  assert(progress > 1, `${progress} pieces`);
});

Deno.test("readFolder() takes folders that are answered at once a few in each turn", async () => {
  await using dir = await tempDir("folder");
  const folders = Array.from({ length: 16 }, (_, i) => `${dir.path}/${i}`);
  for (const folder of folders) {
    await Deno.mkdir(folder);
    for (let i = 0; i < 60; i += 1) await Deno.writeFile(`${folder}/${i} track`, new Uint8Array());
  }
  const descriptors = await Promise.all(folders.map(openFolder));
  const disk = diskOf(dir.path);
  let progress = 0;
  const onProgress = (): number => progress += 1;
  const reading = Promise.all(descriptors.map((descriptor) => {
    assert(descriptor !== undefined);
    return readFolder(descriptor, { disk, signal, onProgress });
  }));
  // All of them are answered while nobody listens.
  const start = performance.now();
  while (performance.now() - start < 200) continue;
  let most = 0;
  while (progress < folders.length) {
    const before = progress;
    await setImmediate();
    most = Math.max(most, progress - before);
  }
  await reading;
  for (const descriptor of descriptors) libc.close(descriptor ?? -1);
  assert(most < folders.length / 2, `${most} folders in one turn`);
});

Deno.test("readFolder() is undefined for what cannot be read", async () => {
  assert.equal(await readFolder(-1, { disk: undefined, signal }), undefined);
});

Deno.test("openFolder() opens no file, nothing that is missing, and nothing behind a link", async () => {
  await using dir = await tempDir("folder");
  await Deno.mkdir(`${dir.path}/real/sub`, { recursive: true });
  await Deno.writeFile(`${dir.path}/file`, new Uint8Array());
  await Deno.symlink("real", `${dir.path}/link`);
  for (const name of ["file", "none", "link", "link/sub"]) {
    assert.equal(await openFolder(`${dir.path}/${name}`), undefined, name);
  }
  const descriptor = await openFolder(`${dir.path}/real/sub`);
  assert(descriptor !== undefined);
  libc.close(descriptor);
});
