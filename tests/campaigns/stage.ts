/** What a campaign's readers read: a mounted library on a disk or a bucket, and whoever serves it. */

import { join } from "node:path";
import { type Remote, startRemote } from "../network/remote.ts";
import { type Host, ProcessHost } from "./host.ts";
import { SystemdHost } from "./systemd_host.ts";
import { type Track, writeTracks } from "./tracks.ts";

/** Half of what is read is in the cache: these tracks are read all the time. */
const HOT_TRACKS = 8;

/** And these one after another, so many that none is still there when its turn comes again. */
const COLD_TRACKS = 24;

const TRACK_SECONDS = 20;

/** Room for the first and a few of the second: a track takes 3.4 MiB. */
const CACHE_OF_HALF = "56M";

export interface StageOptions {
  under: "supervisor" | "systemd" | "nobody";
  origin: "local" | "s3";
  /** `auto` on a local disk is kernel passthrough. */
  cache: "on" | "auto";
  seed: number;
  /** Default: as above. */
  hotTracks?: number;
  trackSeconds?: number;
}

export interface Stage extends AsyncDisposable {
  readonly host: Host;
  /** Whether the mount goes on when its daemon is killed. */
  readonly isSurviving: boolean;
  /** Folder of the same files. */
  readonly copy: string;
  readonly hot: readonly Track[];
  readonly cold: readonly Track[];
}

/** Writes a library, and mounts it. */
export async function startStage(dir: string, options: StageOptions): Promise<Stage> {
  const { under, origin, cache, seed, hotTracks = HOT_TRACKS } = options;
  const copy = join(dir, "origin");
  const count = hotTracks + (origin === "s3" ? COLD_TRACKS : 0);
  const seconds = options.trackSeconds ?? TRACK_SECONDS;
  const tracks = await writeTracks(copy, { count, seconds, seed: seed % 1_000_000 });
  await using stack = new AsyncDisposableStack();
  const remote = origin === "s3" ? stack.use(await startRemote("s3", copy)) : undefined;
  const host = stack.use(await hostOf(dir, { under, remote, copy, cache }));
  await host.start();
  const all = stack.move();
  return {
    host,
    isSurviving: under !== "nobody",
    copy,
    hot: tracks.slice(0, hotTracks),
    cold: tracks.slice(hotTracks),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function hostOf(
  dir: string,
  { under, remote, copy, cache }: {
    under: StageOptions["under"];
    remote: Remote | undefined;
    copy: string;
    cache: string;
  },
): Promise<Host> {
  const origins = [remote?.url() ?? copy];
  const env = { ...remote?.env };
  const size = remote ? CACHE_OF_HALF : "1G";
  if (under === "systemd") {
    const settings = { MUSICFS_CACHE: cache, MUSICFS_MAX_SIZE: size };
    return await SystemdHost.make({ dir, origins, env: { ...env, ...settings } });
  }
  const args = ["--cache", cache, "--max-size", size];
  return new ProcessHost({ dir, origins, env, args, supervise: under === "supervisor" });
}
