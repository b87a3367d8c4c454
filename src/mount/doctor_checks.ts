/** All that `musicfs doctor` looks at, and when that is of concern. */

import type { Clock } from "../base/clock.ts";
import { descriptorLimitMax } from "../base/descriptor_limit.ts";
import type { Config, OriginConfig } from "./config.ts";
import { MUSICFS_TYPE, musicfsPaths, readMountTable } from "./mount_table.ts";
import { type Check, failed, type Finding, ok, skipped } from "./doctor.ts";
import {
  type DaemonAnswer,
  judgeCacheDisk,
  judgeDaemon,
  judgeIndex,
  judgeTemporary,
} from "./doctor_cache.ts";
import { judgeAllowOther, judgeDevice, judgeHelper } from "./doctor_fuse.ts";
import { judgeKernel } from "./doctor_kernel.ts";
import { judgeClock, judgeDescriptors, judgeInotify, openFilesLimit } from "./doctor_limits.ts";
import {
  answers,
  askDaemon,
  askOrigin,
  clockFacts,
  DISK_LIMITS,
  diskFacts,
  findProgram,
  inotifyLimits,
  lookAtIndex,
  openErrno,
  readText,
  temporaryFacts,
  unitText,
} from "./doctor_facts.ts";
import { judgeDaemonsOrigin, judgeOrigin } from "./doctor_origin.ts";
import { judgeUnit, unitOf } from "./doctor_systemd.ts";
import { probeMount } from "./check_mount.ts";
import { localFolder } from "../origins/open.ts";

/** Longest that an origin may take to be reached and listed, in ms. */
const ORIGIN_MS_MAX = 15_000;

/** Longest that asking a disk takes, in ms. */
const DISK_MS_MAX = DISK_LIMITS.startMs + DISK_LIMITS.answerMs + 1_000;

/** As long as an index of some GB is probed. */
const INDEX_MS_MAX = 60_000;

/** What there is to look at. */
export interface DoctorParts {
  config: Config;
  /** Looks at the configuration itself. */
  configured: () => Promise<Finding>;
  env: (name: string) => string | undefined;
  clock: Clock;
}

/** All checks, in the order they are shown; asks the cache's daemon, if there is one, at once. */
export async function doctorChecks(parts: DoctorParts): Promise<Check[]> {
  const answer = await askDaemon(parts.config.cacheDir, parts.clock);
  return [
    { name: "config", look: parts.configured },
    ...fuseChecks(parts),
    ...machineChecks(parts, answer),
    ...cacheChecks(parts, answer),
    ...originChecks(parts, answer),
    ...mountChecks(parts),
    { name: "systemd", look: () => lookAtUnit(answer) },
  ];
}

function fuseChecks({ config, env }: DoctorParts): Check[] {
  const isRoot = Deno.uid() === 0;
  return [
    {
      name: "fuse",
      look: () => {
        const filesystems = readText("/proc/filesystems") ?? "";
        return judgeDevice({ errno: openErrno("/dev/fuse"), filesystems, isRoot });
      },
    },
    {
      name: "fusermount3",
      look: () => judgeHelper({ ...findProgram("fusermount3", env("PATH") ?? ""), isRoot }),
    },
    {
      name: "allow_other",
      look: () => {
        const conf = readText("/etc/fuse.conf");
        return judgeAllowOther({ conf, isWanted: config.allowOther, isRoot });
      },
    },
    { name: "kernel", look: () => judgeKernel({ release: Deno.osRelease(), isRoot }) },
  ];
}

function machineChecks({ config, clock, env }: DoctorParts, answer: DaemonAnswer): Check[] {
  const status = answer.kind === "answers" ? answer.status : undefined;
  const isNeeded = config.watch &&
    (config.origins.some(({ url }) => localFolder(url) !== undefined) ||
      status?.origins.some(({ watch }) => watch !== null) === true);
  const folders = status?.library.folders;
  return [
    {
      name: "descriptors",
      look: () => {
        const limits = status && readText(`/proc/${status.pid}/limits`);
        return judgeDescriptors(openFilesLimit(limits ?? "") ?? descriptorLimitMax());
      },
    },
    { name: "inotify", look: () => judgeInotify({ ...inotifyLimits(), folders, isNeeded }) },
    { name: "clock", look: () => judgeClock(clockFacts(clock)) },
    {
      name: "temporary files",
      limitMs: DISK_MS_MAX,
      look: async () => {
        if (!Deno.build.standalone) return skipped("not needed when run from the sources");
        const dir = env("TMPDIR") || "/tmp";
        if (!await answers(dir, clock)) return failed(`${dir}: its disk hangs`, "TMPDIR=/var/tmp");
        return judgeTemporary(temporaryFacts(dir));
      },
    },
  ];
}

function cacheChecks({ config, clock }: DoctorParts, answer: DaemonAnswer): Check[] {
  const { cacheDir } = config;
  const usedBytes = answer.kind === "answers" ? answer.status.cache.used_bytes : 0;
  return [
    {
      name: "cache",
      look: () =>
        answer.kind === "hangs"
          ? failed(`${cacheDir}: its disk hangs`, "see to the disk, or --cache-dir on another")
          : judgeCacheDisk(diskFacts(config, usedBytes)),
    },
    { name: "daemon", look: () => judgeDaemon(answer) },
    {
      name: "index",
      limitMs: INDEX_MS_MAX,
      look: async () => {
        if (answer.kind === "hangs") return skipped("the cache's disk hangs");
        if (answer.kind === "silent") return judgeIndex({ kind: "busy" });
        if (answer.kind === "none") return judgeIndex(await lookAtIndex(cacheDir, clock));
        return judgeIndex({ kind: "state", state: answer.status.index?.state ?? "ok" });
      },
    },
  ];
}

function originChecks({ config, clock, env }: DoctorParts, answer: DaemonAnswer): Check[] {
  const checks = config.origins.map((origin): Check => {
    const isLocal = localFolder(origin.url) !== undefined;
    const limitMs = isLocal ? DISK_MS_MAX + ORIGIN_MS_MAX : ORIGIN_MS_MAX;
    const message = `no answer, or not all names, within ${limitMs / 1000} s`;
    return {
      name: `origin ${origin.name}`,
      limitMs,
      late: judgeOrigin({ code: "timed_out", message, isLocal }),
      look: async (signal) => judgeOrigin(await askOrigin(origin, { clock, env, signal })),
    };
  });
  const known = new Set(config.origins.map(({ name }: OriginConfig) => name));
  for (const origin of answer.kind === "answers" ? answer.status.origins : []) {
    if (known.has(origin.name)) continue;
    checks.push({ name: `origin ${origin.name}`, look: () => judgeDaemonsOrigin(origin) });
  }
  if (checks.length > 0) return checks;
  return [{ name: "origin", look: () => skipped("none is configured: --origin URL names one") }];
}

function mountChecks({ clock }: DoctorParts): Check[] {
  const checks = musicfsPaths(readMountTable()).map((path): Check => ({
    name: `mount ${path}`,
    limitMs: DISK_MS_MAX,
    look: async () => {
      const state = await probeMount(path, { clock, limits: DISK_LIMITS });
      switch (state) {
        case "live":
          return ok("live");
        case "absent":
          return skipped("it has just gone");
        case "stale":
          return failed("stale: its daemon is dead", `musicfs check-mount ${path}`);
        case "unanswered":
          return failed("it does not answer", `restart its daemon, or: umount -l ${path}`);
      }
    },
  }));
  if (checks.length > 0) return checks;
  return [{ name: "mount", look: () => skipped(`nothing of type ${MUSICFS_TYPE} is mounted`) }];
}

async function lookAtUnit(answer: DaemonAnswer): Promise<Finding> {
  if (answer.kind !== "answers") return skipped("no daemon runs");
  const cgroup = readText(`/proc/${answer.status.pid}/cgroup`) ?? "";
  const name = unitOf(cgroup);
  if (name === undefined) return skipped("the daemon is no service of systemd's");
  const shown = await unitText(name);
  return shown === undefined ? skipped("systemd cannot be asked") : judgeUnit(name, shown);
}
