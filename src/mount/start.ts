import { canonicalMountpoint } from "./mountpoint.ts";
import type { Config } from "./config.ts";
import type { DaemonOptions } from "./daemon.ts";
import { registryPlace } from "./registry.ts";
import { SupervisorLink } from "./supervisor_link.ts";

/** What `musicfs mount` says of a daemon. */
export interface StartOptions extends Omit<DaemonOptions, "raw" | "inherited" | "supervisor"> {
  /** Take the mount over from the daemon that serves it. */
  replace: boolean;
}

/**
 * Starts a daemon and gives its exit code.
 *
 * First what must come before any child is started, then what takes time: connecting to the origins
 * and loading the daemon's code. A live daemon is asked to leave last, so that readers wait for as
 * short as can be.
 *
 * `args`: the words after the program's name, for a parent that starts this again.
 */
export async function startDaemon(
  config: Config,
  options: StartOptions & { args: readonly string[] },
): Promise<number> {
  const { clock, log, env, args, replace } = options;
  const mountpoint = canonicalMountpoint(options.mountpoint);
  const supervisor = SupervisorLink.open({ env, clock, log, mountpoint, args });
  const { openAhead } = await import("./open_ahead.ts");
  const { raw, begun } = openAhead(config, options);
  await begun;
  const { runDaemon } = await import("./daemon.ts");
  const inherited = supervisor?.inherited ??
    (replace ? await takeOver(config, { ...options, mountpoint, supervisor }) : undefined);
  return await runDaemon(config, { ...options, raw, supervisor, inherited });
}

/** The descriptor of a live daemon's mount, once that one leaves; undefined if none lives there. */
async function takeOver(
  { cacheDir }: Config,
  options: Omit<StartOptions, "replace"> & { supervisor: SupervisorLink | undefined },
): Promise<number | undefined> {
  const { mountpoint, clock, env, log, supervisor } = options;
  const { takeFromLive } = await import("./replace.ts");
  try {
    const descriptor = await takeFromLive({
      mountpoint,
      cacheDir,
      place: registryPlace(env),
      clock,
      keep: (descriptor) => supervisor?.hold(descriptor),
    });
    if (descriptor === undefined) log.info("No daemon is there to be replaced", { mountpoint });
    // The other is gone: whatever becomes of us from now on, somebody must go on with the mount.
    else supervisor?.ready();
    return descriptor;
  } catch (error) {
    supervisor?.release();
    throw error;
  }
}
