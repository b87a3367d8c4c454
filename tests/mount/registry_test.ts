import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { findDaemon, registerDaemon } from "../../src/mount/registry.ts";
import { tempDir } from "../support/temp_dir.ts";

const uid = Deno.uid() ?? 0;

Deno.test("findDaemon() finds who registered, until it is gone", async () => {
  await using dir = await tempDir("registry");
  const place = { uid, runtimeDir: dir.path };
  const info = { pid: Deno.pid, cache_dir: "/c", mountpoint: `${dir.path}/mnt` };
  assert.equal(findDaemon(info.mountpoint, place), undefined);
  const registration = registerDaemon(info, place);
  assert.deepEqual(findDaemon(info.mountpoint, place), info);
  assert.equal(findDaemon(`${dir.path}/other`, place), undefined);
  registration[Symbol.dispose]();
  assert.equal(findDaemon(info.mountpoint, place), undefined);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(`${dir.path}/musicfs`)), []);
});

Deno.test("registerDaemon() refuses a second daemon at one mountpoint, naming the first", async () => {
  await using dir = await tempDir("registry");
  const place = { uid, runtimeDir: dir.path };
  const mountpoint = `${dir.path}/mnt`;
  using _first = registerDaemon({ pid: 4711, cache_dir: "/c", mountpoint }, place);
  assert.throws(
    () => registerDaemon({ pid: 4712, cache_dir: "/d", mountpoint }, place),
    (error) => error instanceof MusicfsError && /4711/.test(error.message),
  );
  using _other = registerDaemon(
    { pid: 4712, cache_dir: "/d", mountpoint: `${mountpoint}2` },
    place,
  );
});

Deno.test("findDaemon() does not believe a file that nobody holds, nor one that is no JSON", async () => {
  await using dir = await tempDir("registry");
  const place = { uid, runtimeDir: dir.path };
  const info = { pid: Deno.pid, cache_dir: "/c", mountpoint: `${dir.path}/mnt` };
  const registration = registerDaemon(info, place);
  const [entry] = await Array.fromAsync(Deno.readDir(`${dir.path}/musicfs`));
  assert(entry);
  const file = `${dir.path}/musicfs/${entry.name}`;
  await Deno.writeTextFile(file, "{");
  assert.equal(findDaemon(info.mountpoint, place), undefined);
  registration[Symbol.dispose]();
  await Deno.writeTextFile(file, JSON.stringify(info));
  assert.equal(findDaemon(info.mountpoint, place), undefined);
  using _again = registerDaemon(info, place);
  assert.deepEqual(findDaemon(info.mountpoint, place), info);
});

Deno.test("registerDaemon() keeps out of a folder that others can write", async () => {
  await using dir = await tempDir("registry");
  await Deno.mkdir(`${dir.path}/musicfs`);
  await Deno.chmod(`${dir.path}/musicfs`, 0o777);
  const place = { uid, runtimeDir: dir.path };
  const info = { pid: Deno.pid, cache_dir: "/c", mountpoint: `${dir.path}/mnt` };
  using _registration = registerDaemon(info, place);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(`${dir.path}/musicfs`)), []);
  assert.deepEqual(findDaemon(info.mountpoint, place), info);
});
