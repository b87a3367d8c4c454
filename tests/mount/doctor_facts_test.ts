import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { askDaemon, findProgram, openErrno } from "../../src/mount/doctor_facts.ts";
import { acquireLock } from "../../src/mount/lock.ts";
import { tempDir } from "../support/temp_dir.ts";

Deno.test("askDaemon() tells nobody from one that has the cache and no socket yet", async () => {
  await using dir = await tempDir("facts");
  assert.deepEqual(await askDaemon(dir.path, systemClock), { kind: "none" });
  const info = { pid: Deno.pid, supervisor_pid: null, mountpoint: "/mnt/music" };
  {
    using _lock = acquireLock(dir.path, info);
    const silent = { kind: "silent", pid: Deno.pid, isMounting: true };
    assert.deepEqual(await askDaemon(dir.path, systemClock), silent);
  }
  {
    using _lock = acquireLock(dir.path, { ...info, mountpoint: null });
    const command = { kind: "silent", pid: Deno.pid, isMounting: false };
    assert.deepEqual(await askDaemon(dir.path, systemClock), command);
  }
  assert.deepEqual(await askDaemon(dir.path, systemClock), { kind: "none" });
});

Deno.test("findProgram() looks through PATH, and openErrno() says why not", async () => {
  await using dir = await tempDir("facts");
  await Deno.writeTextFile(`${dir.path}/program`, "", { mode: 0o755 });
  const { path, mode } = findProgram("program", `/nonexistent::${dir.path}`);
  assert.equal(path, `${dir.path}/program`);
  assert.equal((mode ?? 0) & 0o7777, 0o755);
  assert.equal(findProgram("program", "/nonexistent").path, undefined);
  assert.equal(openErrno(`${dir.path}/missing`), 2);
  assert.equal(openErrno(`${dir.path}/program`), 0);
});
