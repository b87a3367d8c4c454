import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import {
  checkAllMounts,
  checkMount,
  type CheckOptions,
  clearStaleMount,
  leavesStale,
  probeMount,
  reportLine,
} from "../../src/mount/check_mount.ts";
import { musicfsMountAt, readMountTable, topmostAt } from "../../src/mount/mount_table.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { FakeMount } from "./fake_mount.ts";

const patient: CheckOptions = {
  clock: systemClock,
  limits: { startMs: 30_000, answerMs: 10_000 },
  dryRun: false,
  detachUnanswered: false,
};

/** For mounts that never answer: the child has long been ready when it asks. */
const brief: CheckOptions = { ...patient, limits: { startMs: 30_000, answerMs: 200 } };

/** Resolves when the probes that were left behind have ended; nobody else waits for them. */
async function probesEnded(): Promise<void> {
  const anyChild = async (): Promise<boolean> => {
    for await (const { name } of Deno.readDir("/proc/self/task")) {
      const children = await Deno.readTextFile(`/proc/self/task/${name}/children`).catch(() => "");
      if (children.trim() !== "") return true;
    }
    return false;
  };
  await eventually(async () => !await anyChild(), { ms: 10_000, what: "no probe is left" });
}

Deno.test("checkMount() calls a plain folder absent, and one that is missing", async () => {
  await using dir = await tempDir("check");
  for (const path of [dir.path, `${dir.path}/none`]) {
    assert.deepEqual(await checkMount(path, patient), [{ path, state: "absent", detached: false }]);
  }
});

testWith(["fuse", "root"], "checkMount() detaches a stale mount and says so", async () => {
  await using dir = await tempDir("check");
  await using mount = new FakeMount(dir.path);
  mount.die();
  const [dry] = await checkMount(dir.path, { ...patient, dryRun: true });
  assert.deepEqual(dry, { path: dir.path, state: "stale", detached: false });
  assert(leavesStale([dry]));
  assert(musicfsMountAt(dir.path));

  const reports = await checkMount(dir.path, patient);

  assert.deepEqual(reports.map(reportLine), [`${dir.path}: stale (detached)`]);
  assert(!leavesStale(reports));
  assert.equal(musicfsMountAt(dir.path), undefined);
});

testWith(["fuse", "root"], "checkMount() never touches a live mount", async () => {
  await using dir = await tempDir("check");
  await using mount = new FakeMount(dir.path);
  mount.live();
  const reports = await checkMount(dir.path, { ...patient, detachUnanswered: true });
  assert.deepEqual(reports.map(reportLine), [`${dir.path}: live`]);
  assert(musicfsMountAt(dir.path));
});

testWith(["fuse", "root"], "checkMount() asks as the user who mounted", async () => {
  await using dir = await tempDir("check");
  await using mount = new FakeMount(dir.path, { uid: 65_534 });
  mount.die();
  // FUSE lets nobody but the owner through: to root a dead mount of another looks well.
  assert.equal(await probeMount(dir.path, patient), "stale");
});

testWith(
  ["fuse", "root"],
  {
    name: "checkMount() leaves an unanswered mount until systemd says timeout",
    // A probe that gets no answer is left behind, to end after the mount: nobody may wait for it.
    sanitizeOps: false,
    sanitizeResources: false,
  },
  async () => {
    await using dir = await tempDir("check");
    await using _mount = new FakeMount(dir.path);
    assert.deepEqual((await checkMount(dir.path, brief)).map(reportLine), [
      `${dir.path}: unanswered`,
    ]);
    assert(musicfsMountAt(dir.path));
    const reports = await checkMount(dir.path, { ...brief, detachUnanswered: true });
    assert.deepEqual(reports.map(reportLine), [`${dir.path}: unanswered (detached)`]);
    assert.equal(musicfsMountAt(dir.path), undefined);
  },
);

testWith(
  ["fuse", "root"],
  "checkMount() leaves other programs' mounts alone, dead or not",
  async () => {
    await using dir = await tempDir("check");
    await using mount = new FakeMount(dir.path, { type: "fuse.sshfs" });
    mount.die();
    assert.deepEqual((await checkMount(dir.path, patient)).map(reportLine), [
      `${dir.path}: absent`,
    ]);
    assert.equal(topmostAt(readMountTable(), dir.path)?.type, "fuse.sshfs");
  },
);

testWith(
  ["fuse", "root"],
  "checkMount() follows links to the mountpoint and keeps the typed name",
  async () => {
    await using dir = await tempDir("check");
    await Deno.mkdir(`${dir.path}/real mount`);
    await Deno.symlink("real mount", `${dir.path}/link`);
    await using mount = new FakeMount(`${dir.path}/real mount`);
    mount.die();
    const path = `${dir.path}/link/`;
    assert.deepEqual(await checkMount(path, patient), [{ path, state: "stale", detached: true }]);
  },
);

testWith(["fuse", "root"], "checkAllMounts() waits for several mounts at once", async () => {
  await using dir = await tempDir("check");
  const paths = ["a", "b", "c"].map((name) => `${dir.path}/${name}`);
  for (const path of paths) await Deno.mkdir(path);
  await using _a = new FakeMount(`${dir.path}/a`);
  await using b = new FakeMount(`${dir.path}/b`);
  await using _c = new FakeMount(`${dir.path}/c`);
  b.die();
  const lines = (await checkAllMounts({ ...brief, dryRun: true }))
    .filter(({ path }) => path.startsWith(dir.path)).map(reportLine);
  assert.deepEqual(lines, [
    `${paths[0]}: unanswered`,
    `${paths[1]}: stale`,
    `${paths[2]}: unanswered`,
  ]);
  await probesEnded();
});

testWith(["fuse", "root"], "clearStaleMount() takes away every dead mount of a stack", async () => {
  await using dir = await tempDir("check");
  await using first = new FakeMount(dir.path);
  await using second = new FakeMount(dir.path);
  first.die();
  second.die();
  const options = { clock: systemClock, limits: patient.limits };
  assert.equal(await clearStaleMount(dir.path, options), "absent");
  assert.equal(musicfsMountAt(dir.path), undefined);
});
