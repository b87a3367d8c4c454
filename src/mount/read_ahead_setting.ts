import type { Log } from "../base/log.ts";
import { localFolder } from "../origins/open.ts";
import { readMountTable, topmostAt } from "./mount_table.ts";
import type { Config } from "./config.ts";

/**
 * KiB that the kernel reads ahead of a reader where the origins are folders. 128, its default, gives
 * 1.8 to 2.1 GB/s through the page cache where 1024 gives 2.9 to 3.4 (the architecture, section 2).
 */
const NEAR_KIB = 1024;

/**
 * The same where an origin is far. A tag reader's first read drags in this much of each file, so
 * that 128 doubles what it fetches (docs/performance.md); players are served by our own read-ahead.
 */
const FAR_KIB = 64;

/** How much the kernel is to read ahead of readers of these origins, in bytes. */
export function kernelReadAheadBytes({ origins }: Pick<Config, "origins">): number {
  const isNear = origins.every(({ url }) => localFolder(url) !== undefined);
  return (isNear ? NEAR_KIB : FAR_KIB) * 1024;
}

/**
 * Raises the kernel's read-ahead of a mount to `bytes`, beyond its default of 128 KiB. Only root may;
 * what is less than the default was agreed on when the mount began.
 */
export function raiseReadAhead(
  mountpoint: string,
  { bytes, log }: { bytes: number; log: Log },
): void {
  const device = topmostAt(readMountTable(), mountpoint)?.device;
  if (device === undefined) return;
  try {
    Deno.writeTextFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, `${bytes / 1024}\n`);
  } catch (error) {
    log.debug("The kernel's read-ahead stays as it is", { device, error });
  }
}
