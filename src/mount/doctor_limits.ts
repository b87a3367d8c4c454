/** Limits and clocks of this machine, for `musicfs doctor`. */

import { failed, type Finding, ok, skipped, warning } from "./doctor.ts";

/** With fewer, chunks are opened and closed again for each read. */
const DESCRIPTORS_GOOD = 4_096;

/** With fewer, origins and readers get in each other's way. */
const DESCRIPTORS_MIN = 256;

/** What a library of some size needs, where its folders are not known. */
const WATCHES_GOOD = 8_192;
const INSTANCES_MIN = 16;

/** Nothing of this program is older, and nothing that it signs or checks is valid so late. */
const YEAR_MIN = 2026;
const YEAR_MAX = 2100;

/** Descriptors that a daemon has, or would have: it raises its soft limit to the hard one. */
export function judgeDescriptors(limit: number): Finding {
  const found = `${limit} open files for a daemon`;
  const remedy = "LimitNOFILE=65536 in the unit, or nofile in /etc/security/limits.conf";
  if (limit < DESCRIPTORS_MIN) return failed(found, remedy);
  if (limit < DESCRIPTORS_GOOD) {
    return warning(`${found}: chunks are opened again and again`, remedy);
  }
  return ok(found);
}

/** The limit that holds for a process, from the text of its /proc/PID/limits. */
export function openFilesLimit(text: string): number | undefined {
  const [, soft] = /^Max open files +(\d+)/m.exec(text) ?? [];
  return soft === undefined ? undefined : Number(soft);
}

/** Watches on folders; `folders` is undefined where nobody has counted them. */
export function judgeInotify(
  { watches, instances, folders, isNeeded }: {
    watches: number;
    instances: number;
    folders: number | undefined;
    /** Whether an origin is a folder of this machine, and is to be watched. */
    isNeeded: boolean;
  },
): Finding {
  if (!isNeeded) return skipped("no folder of this machine is watched");
  const found = `${watches} watches, ${instances} instances for this user`;
  if (instances < INSTANCES_MIN) {
    return warning(found, "sysctl fs.inotify.max_user_instances=128; else changes are polled for");
  }
  if (folders !== undefined && folders >= watches) {
    return warning(
      `${found}, and ${folders} folders`,
      `sysctl fs.inotify.max_user_watches=${2 ** Math.ceil(Math.log2(folders * 2))}`,
    );
  }
  if (folders === undefined && watches < WATCHES_GOOD) {
    return warning(found, "sysctl fs.inotify.max_user_watches=65536");
  }
  return ok(found);
}

/** The wall clock, and the one that never goes back. */
export function judgeClock(
  { nowMs, isSynchronised, isMonotonic }: {
    nowMs: number;
    /** undefined where the kernel does not say. */
    isSynchronised: boolean | undefined;
    isMonotonic: boolean;
  },
): Finding {
  const time = new Date(nowMs).toISOString().slice(0, 19);
  const year = new Date(nowMs).getUTCFullYear();
  if (!isMonotonic) {
    return failed("the monotonic clock went back", "report it: kernel or hypervisor");
  }
  if (year < YEAR_MIN || year > YEAR_MAX) {
    return failed(
      `it is ${time}Z: S3 and certificates are refused`,
      "timedatectl set-ntp true, or date -s",
    );
  }
  if (isSynchronised === false) {
    return warning(
      `${time}Z, not synchronised: S3 refuses what is 15 minutes off`,
      "timedatectl set-ntp true",
    );
  }
  return ok(`${time}Z${isSynchronised ? ", synchronised" : ""}`);
}
