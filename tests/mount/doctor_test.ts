import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { type Check, examine, failed, type Finding, ok } from "../../src/mount/doctor.ts";
import {
  type CacheDiskFacts,
  type DaemonAnswer,
  judgeCacheDisk,
  judgeDaemon,
  judgeIndex,
  judgeTemporary,
} from "../../src/mount/doctor_cache.ts";
import { judgeAllowOther, judgeDevice, judgeHelper } from "../../src/mount/doctor_fuse.ts";
import { judgeKernel } from "../../src/mount/doctor_kernel.ts";
import {
  judgeClock,
  judgeDescriptors,
  judgeInotify,
  openFilesLimit,
} from "../../src/mount/doctor_limits.ts";
import { judgeDaemonsOrigin, judgeOrigin } from "../../src/mount/doctor_origin.ts";
import { judgeUnit, unitOf } from "../../src/mount/doctor_systemd.ts";
import { STATUS } from "../cli/fake_context.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** A finding's state, and that what needs doing names what to do. */
function isFound(finding: Finding, state: Finding["state"], says: RegExp): void {
  assert.equal(finding.state, state, JSON.stringify(finding));
  assert.match(`${finding.found} -> ${finding.remedy}`, says);
  assert.equal(finding.remedy !== null, state === "warning" || state === "failed");
}

Deno.test("examine() leaves a check behind that hangs, and takes what one throws for a failure", async () => {
  const clock = new VirtualClock();
  let told: AbortSignal | undefined;
  const hangs = (signal: AbortSignal): Promise<Finding> => {
    told = signal;
    return new Promise(() => {});
  };
  const denied = new MusicfsError("denied", "No entry", { op: "x", subject: "x" });
  const checks: Check[] = [
    { name: "hangs", look: hangs },
    { name: "late", limitMs: 1_000, late: failed("late", "wait"), look: hangs },
    { name: "throws", look: () => Promise.reject(denied) },
    { name: "well", look: () => ok("well") },
  ];
  const examined = examine(checks, { clock });
  await clock.settle();
  await clock.advance(1_000);
  await clock.advance(4_000);
  const results = await examined;
  assert.deepEqual(results.map(({ name, state, found }) => [name, state, found]), [
    ["hangs", "failed", "no answer within 5 s"],
    ["late", "failed", "late"],
    ["throws", "failed", "No entry"],
    ["well", "ok", "well"],
  ]);
  assert(told?.aborted);
});

Deno.test("judgeDevice() tells a missing device from one that may not be opened", () => {
  const of = (errno: number, isRoot = false, filesystems = "nodev\tfuse\n"): Finding =>
    judgeDevice({ errno, filesystems, isRoot });
  isFound(of(0), "ok", /can be opened/);
  isFound(of(2), "failed", /missing.*mknod/);
  isFound(of(2, false, "nodev\tfusectl\n"), "failed", /missing.*modprobe fuse/);
  isFound(of(19), "failed", /not loaded.*modprobe fuse/);
  isFound(of(13), "failed", /this user.*chmod 0666/);
  isFound(of(1, true), "failed", /root.*--device/);
});

Deno.test("judgeHelper() needs a fusermount3 that is set-user-ID, but for root", () => {
  const path = "/usr/bin/fusermount3";
  isFound(judgeHelper({ path, mode: 0o104755, isRoot: false }), "ok", /fusermount3/);
  isFound(judgeHelper({ path, mode: 0o100755, isRoot: false }), "warning", /chmod u\+s/);
  const none = { path: undefined, mode: undefined };
  isFound(judgeHelper({ ...none, isRoot: false }), "failed", /package fuse3/);
  isFound(judgeHelper({ ...none, isRoot: true }), "ok", /root needs none/);
});

Deno.test("judgeAllowOther() reads /etc/fuse.conf as fusermount3 does", () => {
  const of = (conf: string | undefined, isWanted: boolean, isRoot = false): Finding =>
    judgeAllowOther({ conf, isWanted, isRoot });
  isFound(of("# x\nuser_allow_other\n", true), "ok", /let in/);
  isFound(of("#user_allow_other\n", true), "failed", /user_allow_other into \/etc\/fuse\.conf/);
  isFound(of(undefined, true), "failed", /fuse\.conf/);
  isFound(of(undefined, true, true), "ok", /let in/);
  isFound(of(undefined, false), "skipped", /fuse\.conf/);
});

Deno.test("judgeKernel() names what an older kernel lacks", () => {
  const of = (release: string): Finding => judgeKernel({ release, isRoot: true });
  isFound(of("6.1.0-18-amd64"), "warning", /does not outlive.*6\.9/);
  isFound(of("6.8.9"), "warning", /6\.9/);
  isFound(of("6.9.0"), "ok", /resend, passthrough, listings not cached/);
  isFound(of("6.13-rc1"), "ok", /cached listings/);
  isFound(of("7.0.1"), "ok", /resend/);
});

Deno.test("judgeDescriptors() warns of few and fails for very few", () => {
  isFound(judgeDescriptors(65_536), "ok", /65536/);
  isFound(judgeDescriptors(1_024), "warning", /LimitNOFILE=.*limits\.conf/);
  isFound(judgeDescriptors(64), "failed", /LimitNOFILE=/);
  const limits =
    "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024      4096   files\n";
  assert.equal(openFilesLimit(limits), 1_024);
  assert.equal(openFilesLimit(""), undefined);
});

Deno.test("judgeInotify() counts the folders, where somebody has", () => {
  const many = { watches: 8_192, instances: 128, isNeeded: true };
  isFound(judgeInotify({ ...many, folders: 5_000 }), "ok", /8192/);
  isFound(judgeInotify({ ...many, folders: 10_000 }), "warning", /max_user_watches=32768/);
  isFound(judgeInotify({ ...many, folders: undefined }), "ok", /8192/);
  isFound(judgeInotify({ ...many, watches: 100, folders: undefined }), "warning", /65536/);
  isFound(judgeInotify({ ...many, instances: 1, folders: 5 }), "warning", /instances=128/);
  isFound(
    judgeInotify({ ...many, watches: 1, folders: 9, isNeeded: false }),
    "skipped",
    /no folder/,
  );
});

Deno.test("judgeClock() wants a sane year, a synchronised clock, and one that never goes back", () => {
  const of = (year: number, isSynchronised: boolean | undefined, isMonotonic = true): Finding =>
    judgeClock({ nowMs: Date.UTC(year, 5), isSynchronised, isMonotonic });
  isFound(of(2027, true), "ok", /2027-06-01T00:00:00Z, synchronised/);
  isFound(of(2027, undefined), "ok", /Z -> null$/);
  isFound(of(2027, false), "warning", /not synchronised.*set-ntp/);
  isFound(of(1970, true), "failed", /1970.*set-ntp/);
  isFound(of(2199, true), "failed", /2199/);
  isFound(of(2027, true, false), "failed", /went back/);
});

Deno.test("judgeCacheDisk() tells what keeps bytes from being cached", () => {
  const GIB = 2 ** 30;
  const well: CacheDiskFacts = {
    cacheDir: "/c",
    exists: true,
    errno: 0,
    type: 0xef53,
    remote: undefined,
    totalBytes: 100 * GIB,
    freeBytes: 50 * GIB,
    usedBytes: 5 * GIB,
    limitBytes: 20 * GIB,
  };
  const of = (some: Partial<CacheDiskFacts>): Finding => judgeCacheDisk({ ...well, ...some });
  isFound(of({}), "ok", /50\.0 GiB free, 50 %/);
  isFound(of({ exists: false }), "ok", /made with the first mount/);
  isFound(of({ errno: 13 }), "failed", /this user.*chown/);
  isFound(of({ errno: 30 }), "failed", /read-only/);
  isFound(of({ errno: 28 }), "failed", /full.*free space/);
  isFound(of({ errno: 5 }), "failed", /errno 5.*dmesg/);
  isFound(of({ remote: "NFS" }), "warning", /NFS.*--cache-dir/);
  isFound(of({ type: 0x01021994 }), "warning", /in memory/);
  isFound(of({ freeBytes: 9 * GIB }), "warning", /91 %/);
  isFound(of({ freeBytes: GIB / 2 }), "failed", /99 %.*nothing new is cached/);
  isFound(of({ limitBytes: 60 * GIB }), "warning", /5\.0 GiB more than there is room/);
  isFound(of({ limitBytes: 55 * GIB }), "ok", /50 %/);
  isFound(of({ limitBytes: undefined }), "ok", /50 %/);
});

Deno.test("judgeTemporary() fails for noexec, from where LMDB cannot be loaded", () => {
  const well = { dir: "/tmp", isExecutable: true, canWrite: true };
  isFound(judgeTemporary(well), "ok", /\/tmp/);
  isFound(judgeTemporary({ ...well, isExecutable: undefined }), "ok", /\/tmp/);
  isFound(judgeTemporary({ ...well, isExecutable: false }), "failed", /noexec.*TMPDIR=/);
  isFound(judgeTemporary({ ...well, canWrite: false }), "failed", /written.*TMPDIR=/);
});

Deno.test("judgeDaemon() tells of one that hangs, has given up a task, or cannot cache", () => {
  const { cache } = STATUS;
  const of = (some: Partial<typeof STATUS>): DaemonAnswer => ({
    kind: "answers",
    status: { ...STATUS, ...some },
  });
  isFound(judgeDaemon({ kind: "none" }), "ok", /no daemon/);
  isFound(judgeDaemon({ kind: "hangs" }), "skipped", /hangs/);
  isFound(judgeDaemon(of({})), "ok", /daemon 4711 serves \/mnt\/music/);
  isFound(
    judgeDaemon({ kind: "silent", pid: 9, isMounting: true }),
    "failed",
    /9 does not.*kill 9/,
  );
  isFound(judgeDaemon({ kind: "silent", pid: 9, isMounting: false }), "ok", /process 9 works/);
  const task = { name: "scan", state: "running", restarts: 2 } as const;
  isFound(judgeDaemon(of({ tasks: [task] })), "warning", /started again: scan/);
  isFound(judgeDaemon(of({ tasks: [{ ...task, state: "failed" }] })), "failed", /given up: scan/);
  isFound(judgeDaemon(of({ cache: { ...cache, degraded: true } })), "failed", /refuses writes/);
});

Deno.test("judgeIndex() tells that a damaged one mends itself", () => {
  isFound(judgeIndex({ kind: "none" }), "ok", /none yet/);
  isFound(judgeIndex({ kind: "busy" }), "skipped", /another/);
  isFound(judgeIndex({ kind: "state", state: "ok" }), "ok", /sound/);
  isFound(judgeIndex({ kind: "state", state: "rebuilt" }), "ok", /made again/);
  isFound(judgeIndex({ kind: "state", state: "damaged" }), "warning", /made again at the next/);
  isFound(judgeIndex({ kind: "fault", fault: undefined }), "ok", /sound/);
  isFound(judgeIndex({ kind: "fault", fault: "cut short" }), "warning", /cut short.*next start/);
});

Deno.test("judgeOrigin() names what to do for each way not to be reached", () => {
  const well = { latencyMs: 1.25, listMs: 20, names: 12, hasMore: false };
  isFound(judgeOrigin(well), "ok", /1\.3 ms, lists 12 names in 20 ms/);
  isFound(judgeOrigin({ ...well, names: 1_000, hasMore: true }), "ok", /1000 and more/);
  isFound(judgeOrigin({ ...well, names: 0 }), "warning", /empty.*mounted/);
  isFound(judgeOrigin({ ...well, latencyMs: 1_500 }), "warning", /1500 ms/);
  isFound(judgeOrigin({ ...well, listMs: 9_000 }), "warning", /9000 ms/);
  const refused = { code: "denied", message: "bad key", isLocal: false } as const;
  isFound(judgeOrigin(refused), "failed", /bad key.*credentials/);
  isFound(judgeOrigin({ ...refused, code: "timed_out" }), "failed", /bad key.*network/);
  isFound(judgeOrigin({ ...refused, isLocal: true }), "failed", /chmod/);
  isFound(judgeOrigin({ ...refused, code: "unavailable", isLocal: true }), "failed", /mount its/);
  const [, s3 = STATUS.origins[0]] = STATUS.origins;
  assert(s3);
  isFound(judgeDaemonsOrigin(s3), "failed", /offline.*connection refused/);
  isFound(judgeDaemonsOrigin({ ...s3, state: "online" }), "ok", /online/);
  isFound(judgeDaemonsOrigin({ ...s3, state: "degraded" }), "warning", /slow or failing/);
});

Deno.test("unitOf() finds the service of a process, and judgeUnit() what its settings lack", () => {
  const system = unitOf("0::/system.slice/system-musicfs.slice/musicfs@srv-music.service\n");
  assert.deepEqual(system, { unit: "musicfs@srv-music.service", isUsers: false });
  const user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/musicfs.service\n";
  assert.deepEqual(unitOf(user), { unit: "musicfs.service", isUsers: true });
  const legacy = "12:pids:/x\n1:name=systemd:/system.slice/musicfs.service\n";
  assert.equal(unitOf(legacy)?.unit, "musicfs.service");
  assert.equal(unitOf("0::/user.slice/user-0.slice/session-3.scope\n"), undefined);
  assert.equal(unitOf("0::/user.slice/user-0.slice/user@0.service\n"), undefined);
  assert.equal(unitOf("0::/\n"), undefined);
  assert(system);
  const good = [
    "Type=notify",
    "FileDescriptorStoreMax=8",
    "WatchdogUSec=30s",
    "Restart=on-failure",
    "ExecStopPost={ path=/usr/bin/musicfs ; argv[]=/usr/bin/musicfs check-mount /srv/music }",
    "StartLimitIntervalUSec=0",
  ];
  isFound(judgeUnit(system, good.join("\n")), "ok", /8 descriptors kept, watchdog 30s/);
  const lacks: [line: number, text: string, says: RegExp][] = [
    [0, "Type=simple", /without Type -> .*Type=notify/],
    [1, "FileDescriptorStoreMax=0", /FileDescriptorStoreMax=8/],
    [2, "WatchdogUSec=0", /WatchdogSec=30s/],
    [3, "Restart=no", /Restart=on-failure/],
    [4, "ExecStopPost=", /ExecStopPost=-.*check-mount/],
    [5, "StartLimitIntervalUSec=10s", /StartLimitIntervalSec=0/],
  ];
  for (const [line, text, says] of lacks) {
    isFound(judgeUnit(system, good.with(line, text).join("\n")), "warning", says);
  }
  isFound(judgeUnit(system, ""), "warning", /Type, FileDescriptorStoreMax, WatchdogSec, Restart/);
});
