/** How a daemon comes by its mount: a fresh one, or one that it takes over. */

import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { GIVEN_UP } from "./exit_codes.ts";
import type { MountHolder } from "./holder.ts";
import { checkMountpoint } from "./mountpoint_check.ts";
import { removeSession } from "./session_file.ts";
import { abandon, type Heritage, inspectLegacy } from "./takeover.ts";

/** What entering works with. */
export interface EnterOptions {
  mountpoint: string;
  cacheDir: string;
  /** Local origins: nothing may be mounted above or below them. */
  folders: readonly string[];
  holder: MountHolder | undefined;
  clock: Clock;
  log: Log;
}

/** A mount to go on with, undefined for a fresh one, or the exit code of a daemon that has none. */
export type Entered = { heritage: Heritage | undefined } | { exitCode: number };

/**
 * Looks at what a predecessor left. What cannot be gone on with is taken away, so that a fresh mount
 * can be made. Throws `MusicfsError` if something else is in the way.
 *
 * The caller holds the lock of the cache: the predecessor has ended.
 */
export async function enter(
  descriptor: number | undefined,
  options: EnterOptions,
): Promise<Entered> {
  const { mountpoint, cacheDir, folders, holder, clock, log } = options;
  if (descriptor !== undefined) {
    const legacy = await inspectLegacy(descriptor, options);
    if (legacy.kind === "alive") return { heritage: legacy.heritage };
    if (legacy.kind === "unmounted") {
      holder?.release();
      await removeSession(cacheDir);
      log.info("The mount was taken away while no daemon served it", { mountpoint });
      return { exitCode: 0 };
    }
    if (legacy.kind === "hopeless") {
      await disown(descriptor, options);
      log.error(
        "The mount is given up: one daemon after another died right after it took it over. " +
          "The log above says of what",
        { mountpoint, deaths: legacy.deaths },
      );
      return { exitCode: GIVEN_UP };
    }
    log.warning("Mounted anew; what was open in the old mount gets errors", { why: legacy.why });
    await disown(descriptor, options);
  }
  await checkMountpoint(mountpoint, { folders: [cacheDir, ...folders], clock });
  return { heritage: undefined };
}

/** Takes away a mount that was kept, for good: nobody is to find its descriptor again. */
export async function disown(
  descriptor: number,
  { holder, mountpoint, cacheDir, clock }: Omit<EnterOptions, "folders" | "log">,
): Promise<void> {
  holder?.release();
  await abandon(descriptor, { mountpoint, clock });
  await removeSession(cacheDir);
}
