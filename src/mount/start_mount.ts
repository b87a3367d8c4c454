/** Makes the mount that a daemon serves, or goes on with the one it takes over. */

import { checkMountpoint } from "./mountpoint_check.ts";
import type { Cache } from "./cache.ts";
import type { DaemonOptions } from "./daemon.ts";
import { directRootsOf } from "./direct_roots.ts";
import { disown, type EnterOptions } from "./enter.ts";
import { FuseMount, type FuseMountOptions } from "./fuse_mount.ts";
import { hasStaleListings } from "./kernel_release.ts";
import { holdOpen } from "./hold_open.ts";
import { kernelReadAheadBytes, raiseReadAhead } from "./read_ahead_setting.ts";
import { keepSession, type SessionRecord } from "./session_file.ts";
import { checkFirstSight } from "./first_sight.ts";
import type { Heritage } from "./takeover.ts";

/** Values of a handle's high half that tell a mount's daemons apart. */
const NONCES = 2 ** 20 - 1;

/** How long the kernel may believe names and attributes, in s; changes are pushed to it. */
const TTL_S = 3600;

/** A mount that answers. */
export interface MadeMount {
  mount: FuseMount;
  /** As it is on the disk for a successor. */
  session: SessionRecord;
  /** Whether somebody else holds its descriptor. */
  isHeld: boolean;
}

/** What a mount is made of beside the cache. */
export interface StartMountOptions {
  worker: Worker;
  /** What a predecessor left. */
  heritage: Heritage | undefined;
  parts: EnterOptions;
  options: DaemonOptions;
}

/** Mounts, or goes on with the mount of a predecessor if the index is still the same. */
export async function startMount(
  cache: Cache,
  { worker, heritage: found, parts, options }: StartMountOptions,
): Promise<MadeMount> {
  const { mountpoint, cacheDir, holder, clock, log } = parts;
  const heritage = await stillValid(found, { cache, parts });
  await checkFirstSight(cache, clock);
  cache.library.adoptPublished();
  const { readAheadBytes, ...look } = await lookOf(cache, options);
  const mount = await FuseMount.start({
    worker,
    cache,
    mountpoint,
    ...look,
    readAheadBytes,
    opened: (version) => {
      cache.reader.opened(version);
      holdOpen(cache, version);
    },
    nonce: 1 + (heritage?.session.takeovers ?? 0) % NONCES,
    heritage,
    failpoints: failpointsOf(options),
    clock,
    log,
  });
  cache.changes.listener = (changes) => mount.tell(changes);
  // The worker has asked for what its predecessor had yet to answer: the kernel may wait for that.
  if (heritage) mount.tell(cache.library.owed());
  cache.changes.forgetBytes = (version) => mount.forgetBytes(version);
  const session = heritage?.session ?? {
    format: 1,
    mountpoint,
    epoch: cache.opened.index.epoch,
    agreed: await mount.agreed,
    uid: look.uid,
    takeovers: 0,
    quickDeaths: 0,
  };
  const isKept = heritage !== undefined || await keepSession(session, { cacheDir, log });
  const isHeld = isKept && session.agreed.resend && holder?.hold(mount.descriptor) === true;
  if (look.uid === 0) raiseReadAhead(mountpoint, { bytes: readAheadBytes, log });
  return { mount, session, isHeld };
}

function failpointsOf({ env, random }: DaemonOptions): FuseMountOptions["failpoints"] {
  const spec = env("MUSICFS_FAILPOINTS");
  return spec ? { spec, seed: Math.floor(random() * 2 ** 32) } : undefined;
}

/** What is shown to whom, and how it is served. */
async function lookOf(
  cache: Cache,
  { clock }: DaemonOptions,
): Promise<
  Pick<
    FuseMountOptions,
    | "uid"
    | "gid"
    | "allowOther"
    | "presentation"
    | "cacheFolders"
    | "directRoots"
    | "passthrough"
    | "readAheadBytes"
  >
> {
  const { config } = cache;
  const uid = Deno.uid() ?? 0;
  const gid = Deno.gid() ?? 0;
  const directRoots = await directRootsOf(cache, clock);
  return {
    uid,
    gid,
    allowOther: config.allowOther,
    presentation: {
      uid: config.uid ?? uid,
      gid: config.gid ?? gid,
      umask: config.umask,
      ttlS: TTL_S,
    },
    cacheFolders: !hasStaleListings(Deno.osRelease()),
    directRoots,
    passthrough: directRoots.length > 0 && uid === 0,
    readAheadBytes: kernelReadAheadBytes(config),
  };
}

/** What was found, unless the index is another one by now: old node ids would name other files. */
async function stillValid(
  heritage: Heritage | undefined,
  { cache, parts }: { cache: Cache; parts: EnterOptions },
): Promise<Heritage | undefined> {
  if (!heritage) return undefined;
  const { opened } = cache;
  if (!opened.created && opened.index.epoch === heritage.session.epoch) return heritage;
  const { mountpoint, cacheDir, folders, clock, log } = parts;
  log.warning("Mounted anew; what was open in the old mount gets errors", {
    why: "the index was made again",
  });
  await disown(heritage.descriptor, parts);
  await checkMountpoint(mountpoint, { folders: [cacheDir, ...folders], clock });
  return undefined;
}
