import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { acquireLock, LOCK_FILE, LockHeldError, readLockInfo } from "../../src/mount/lock.ts";
import { tempDir } from "../support/temp_dir.ts";

const info = { pid: 4711, supervisor_pid: null, mountpoint: "/mnt/music" };

Deno.test("acquireLock() writes who has it, and refuses a second with that name", async () => {
  await using dir = await tempDir("lock");
  using _lock = acquireLock(dir.path, info);
  assert.deepEqual(JSON.parse(await Deno.readTextFile(`${dir.path}/${LOCK_FILE}`)), info);
  assert.deepEqual(readLockInfo(dir.path), info);
  assert.throws(() => acquireLock(dir.path, { ...info, pid: 1 }), (error) => {
    assert(error instanceof LockHeldError);
    assert.deepEqual(error.holder, info);
    assert.match(error.message, /4711.*\/mnt\/music.*--cache-dir/);
    return true;
  });
});

Deno.test("acquireLock() takes what a dead holder left, whatever it wrote", async () => {
  await using dir = await tempDir("lock");
  for (const left of ['{"pid":99999999,"mountpoint":"/x"}', "{", "", "null", "\0".repeat(9_000)]) {
    await Deno.writeTextFile(`${dir.path}/${LOCK_FILE}`, left);
    using _lock = acquireLock(dir.path, info);
    assert.deepEqual(readLockInfo(dir.path), info);
  }
});

Deno.test("acquireLock() gives the lock back when it is disposed of, once", async () => {
  await using dir = await tempDir("lock");
  const first = acquireLock(dir.path, info);
  first.update({ ...info, supervisor_pid: 12 });
  assert.equal(readLockInfo(dir.path)?.supervisor_pid, 12);
  first[Symbol.dispose]();
  using _second = acquireLock(dir.path, info);
  first[Symbol.dispose]();
  assert.throws(() => acquireLock(dir.path, info), LockHeldError);
});

Deno.test("acquireLock() throws typed errors for a missing folder and for a link in its place", async () => {
  await using dir = await tempDir("lock");
  assert.throws(() => acquireLock(`${dir.path}/none`, info), MusicfsError);
  await Deno.writeTextFile(`${dir.path}/precious`, "text");
  await Deno.symlink("precious", `${dir.path}/${LOCK_FILE}`);
  assert.throws(() => acquireLock(dir.path, info), MusicfsError);
  assert.equal(await Deno.readTextFile(`${dir.path}/precious`), "text");
});
