import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Cache } from "./cache.ts";
import type { Config } from "./config.ts";

/** What SIGHUP takes over while mounted. `logLevel` is whoever made the log's to take over. */
type Live = "maxSizeBytes" | "bwlimitBytes" | "readTimeoutMs" | "pollIntervalMs" | "logLevel";

/**
 * What waits for the next mount, by its name in the configuration: the kernel was told of it (`umask`,
 * `uid`, `gid`, `allow_other`), what is cached or listed depends on it, or something was opened by it.
 */
const WAITING = {
  cacheDir: "cache_dir",
  cache: "cache",
  watch: "no_watch",
  trustAudioMd5: "no_trust_audio_md5",
  exclude: "exclude",
  origins: "origin",
  hooks: "hook",
  hash: "hash",
  umask: "umask",
  uid: "uid",
  gid: "gid",
  allowOther: "allow_other",
  logFormat: "log_format",
  metrics: "metrics",
} as const satisfies Record<Exclude<keyof Config, Live>, string>;

/** What a reload changes. */
export interface ReloadParts {
  cache: Pick<Cache, "config" | "space" | "bandwidth" | "fetcher" | "disk">;
  log: Log;
  /** Reads the configuration again; throws `MusicfsError` if it is wrong now. */
  read: () => Config;
  /** Starts tasks again that were given up; their names. */
  startGivenUp: () => readonly string[];
}

/**
 * SIGHUP: takes over what can be changed while mounted, and names what changed and cannot; tries the
 * cache's disk, and starts tasks again that were given up. A wrong configuration changes nothing.
 */
export function reload({ cache, log, read, startGivenUp }: ReloadParts): void {
  cache.disk.probeSoon();
  cache.disk.probe();
  const started = startGivenUp();
  if (started.length > 0) {
    log.info("Tasks that were given up are started again", { tasks: started });
  }
  try {
    const next = read();
    const waiting = waitingIn(cache.config, next);
    takeOver(cache, next);
    log.info("Configuration read again", {
      max_size: cache.space.limitBytes,
      bwlimit: next.bwlimitBytes ?? 0,
      read_timeout_ms: next.readTimeoutMs,
      poll_interval_ms: next.pollIntervalMs,
      log_level: next.logLevel ?? "info",
    });
    if (waiting.length === 0) return;
    log.warning("Some options that changed wait for the next mount", { options: waiting });
  } catch (error) {
    if (!(error instanceof MusicfsError)) throw error;
    log.warning("The configuration is wrong now; everything stays as it is", { error });
  }
}

/** Names of what differs and is not taken over. */
export function waitingIn(now: Config, next: Config): string[] {
  const names: string[] = [];
  for (const [key, name] of Object.entries(WAITING)) {
    const [before, after] = [now, next].map((config) =>
      JSON.stringify(config[key as keyof typeof WAITING])
    );
    if (before !== after) names.push(name);
  }
  return names;
}

function takeOver({ config, space, bandwidth, fetcher }: ReloadParts["cache"], next: Config): void {
  if (next.maxSizeBytes !== undefined) space.setLimit(next.maxSizeBytes);
  bandwidth.setRate(next.bwlimitBytes);
  // For reads that begin from now on, and from the next poll on.
  fetcher.readTimeoutMs = next.readTimeoutMs;
  config.pollIntervalMs = next.pollIntervalMs;
}
