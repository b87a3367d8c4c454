import assert from "node:assert/strict";
import { silentLog } from "../../src/base/log.ts";
import { CacheDisk, diskError } from "../../src/store/passthrough.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const CODES = [
  { errno: 28, name: "ENOSPC", code: "full", degrades: true },
  { errno: 122, name: "EDQUOT", code: "full", degrades: true },
  { errno: 5, name: "EIO", code: "unavailable", degrades: true },
  { errno: 30, name: "EROFS", code: "unavailable", degrades: true },
  { errno: 13, name: "EACCES", code: "unavailable", degrades: true },
  { errno: 24, name: "EMFILE", code: "unavailable", degrades: false },
  { errno: 12, name: "ENOMEM", code: "unavailable", degrades: false },
  { errno: 99, name: "errno 99", code: "unavailable", degrades: true },
] as const;

for (const { errno, name, code, degrades } of CODES) {
  Deno.test(`CacheDisk.failed() takes ${name} for ${code}`, () => {
    const disk = new CacheDisk({ cacheDir: "/none", clock: new VirtualClock(), log: silentLog });
    const error = disk.failed("test.write", "a file", errno);
    assert.equal(error.code, code);
    assert.ok(error.message.includes(name), error.message);
    assert.equal(disk.writable, !degrades);
  });
}

Deno.test("CacheDisk.probe() tries once a minute, and recovers", async () => {
  await using dir = await tempDir("probe");
  const clock = new VirtualClock();
  const disk = new CacheDisk({ cacheDir: dir.path, clock, log: silentLog });
  assert.equal(disk.probe(), true);
  disk.failed("test.write", "a file", 30);
  await Deno.writeTextFile(`${dir.path}/tmp`, "in the way");

  await clock.advance(60_000);
  assert.equal(disk.probe(), false);
  await Deno.remove(`${dir.path}/tmp`);
  await clock.advance(59_999);
  assert.equal(disk.probe(), false);
  await clock.advance(1);
  assert.equal(disk.probe(), true);

  assert.equal(disk.state, "writable");
  assert.deepEqual(await Array.fromAsync(Deno.readDir(`${dir.path}/tmp`)), []);
});

Deno.test("CacheDisk tells once that it is degraded, and once that it is well", async () => {
  await using dir = await tempDir("probe");
  const said: string[] = [];
  const note = (level: string) => (): void => void said.push(level);
  const log = {
    debug: (): void => {},
    info: note("info"),
    warning: note("warning"),
    error: note("error"),
  };
  const clock = new VirtualClock();
  const disk = new CacheDisk({ cacheDir: dir.path, clock, log });
  assert.equal(disk.degradedSinceMs, null);
  const sinceMs = clock.now();
  disk.failed("test.write", "a file", 28);
  await clock.advance(1);
  for (let i = 0; i < 4; i += 1) disk.failed("test.write", "a file", 28);
  assert.equal(disk.degradedSinceMs, sinceMs);
  await clock.advance(60_000);
  for (let i = 0; i < 5; i += 1) disk.probe();
  assert.equal(disk.degradedSinceMs, null);
  assert.deepEqual(said, ["warning", "info"]);
});

Deno.test("CacheDisk.keepWatch() tries a disk that was full as soon as it has room, others in a minute", async () => {
  await using dir = await tempDir("probe");
  const clock = new VirtualClock();
  const disk = new CacheDisk({ cacheDir: dir.path, clock, log: silentLog });
  disk.failed("test.write", "a file", 28);
  disk.keepWatch({ hasRoom: false });
  assert.equal(disk.state, "degraded");
  disk.keepWatch({ hasRoom: true });
  assert.equal(disk.state, "writable");

  disk.failed("test.write", "a file", 30);
  disk.keepWatch({ hasRoom: true });
  assert.equal(disk.state, "degraded");
  await clock.advance(60_000);
  disk.keepWatch({ hasRoom: true });
  assert.equal(disk.state, "writable");
});

Deno.test("CacheDisk.writable is false while it is too full to keep anything", () => {
  const disk = new CacheDisk({ cacheDir: "/none", clock: new VirtualClock(), log: silentLog });
  disk.isFull = () => true;
  assert.deepEqual([disk.state, disk.writable, disk.probe()], ["writable", false, true]);
});

Deno.test("diskError() says what to do", () => {
  const full = diskError({ op: "test.write", subject: "chunk ab", errno: 28 });
  assert.equal(
    full.message,
    "Cannot write chunk ab: the cache disk is full (ENOSPC). Free space on it or lower --max-size",
  );
  const denied = diskError({ op: "test.write", subject: "chunk ab", errno: 13 });
  assert.equal(
    denied.message,
    "Cannot use chunk ab: the system refused with EACCES. Check the disk and the permissions of " +
      "--cache-dir",
  );
});
