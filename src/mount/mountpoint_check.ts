import { resolve } from "node:path";
import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { clearStaleMount } from "./check_mount.ts";
import { MUSICFS_TYPE, readMountTable, topmostAt } from "./mount_table.ts";

/** A NAS that hangs must not keep the mount from coming up, in ms. */
const REAL_PATH_MS_MAX = 2_000;

/**
 * Makes sure that something can be mounted at `mountpoint`, a canonical path: clears away a dead
 * mount of ours, and refuses everything else that is in the way.
 *
 * `folders` are the cache and the local origins: a mount above or below one of them would make the
 * daemon wait for itself.
 */
export async function checkMountpoint(
  mountpoint: string,
  options: { folders: readonly string[]; clock: Clock },
): Promise<void> {
  const mounted = topmostAt(readMountTable(), mountpoint);
  if (mounted?.type === MUSICFS_TYPE) {
    const left = await clearStaleMount(mountpoint, options);
    if (left !== "absent") {
      const why = left === "live" ? "another musicfs serves it" : `its mount is ${left}`;
      throw inTheWay(mountpoint, `${why}. Unmount it first: musicfs unmount ${mountpoint}`);
    }
  } else if (mounted) {
    throw inTheWay(mountpoint, `a filesystem of type ${mounted.type} is mounted there`);
  }
  checkFolder(mountpoint);
  for (const folder of options.folders) {
    const other = await realPathSoon(folder, options.clock);
    if (isWithin(other, mountpoint) || isWithin(mountpoint, other)) {
      throw inTheWay(
        mountpoint,
        `it and ${folder} lie within each other. Choose a mountpoint beside it`,
      );
    }
  }
}

function checkFolder(mountpoint: string): void {
  try {
    if (Deno.statSync(mountpoint).isDirectory) return;
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) {
      throw new MusicfsError("denied", `Cannot mount at "${mountpoint}": it cannot be looked at`, {
        op: "mount.check",
        subject: mountpoint,
        cause,
      });
    }
    throw inTheWay(mountpoint, `it does not exist. Create it: mkdir -p ${mountpoint}`);
  }
  throw inTheWay(mountpoint, "it is not a folder");
}

function inTheWay(mountpoint: string, why: string): MusicfsError {
  return new MusicfsError("unavailable", `Cannot mount at "${mountpoint}": ${why}`, {
    op: "mount.check",
    subject: mountpoint,
  });
}

function isWithin(inner: string, outer: string): boolean {
  return inner === outer || inner.startsWith(outer === "/" ? "/" : `${outer}/`);
}

/** The path without links; as it was typed if it is missing or its disk does not answer in time. */
async function realPathSoon(path: string, clock: Clock): Promise<string> {
  const asTyped = resolve(path);
  const real = Deno.realPath(path).catch(() => asTyped);
  return await within(real, { ms: REAL_PATH_MS_MAX, clock }) ?? asTyped;
}
