import type { CliContext } from "../../src/cli/context.ts";
import type { Output } from "../../src/cli/output.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { CacheCommands, StatusResult } from "../../src/mount/cache_commands.ts";
import { commandsOf } from "../mount/fake_commands.ts";

/** What a command printed, and how it ended. */
export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** A context without a machine behind it; each test names what its command may reach. */
export function fakeContext(
  some: Partial<CliContext> = {},
): { context: CliContext; printed: { stdout: string; stderr: string } } {
  const printed = { stdout: "", stderr: "" };
  const output = (name: "stdout" | "stderr"): Output => ({
    isTerminal: false,
    columns: 0,
    write: (text) => {
      printed[name] += text;
    },
  });
  const context: CliContext = {
    env: () => undefined,
    random: () => 0,
    cwd: "/",
    home: "/proc/none", // Where not even root can make a folder.
    stdout: output("stdout"),
    stderr: output("stderr"),
    clock: systemClock,
    runDaemon: () => Promise.reject(new Error("no daemon is expected")),
    openCache: () => Promise.reject(new Error("no cache is expected")),
    ...some,
  };
  return { context, printed };
}

/** Commands of a cache that is opened for one of them, and whether it was closed again. */
export function fakeCache(
  some: Partial<CacheCommands>,
): CacheCommands & AsyncDisposable & { isClosed: boolean } {
  return {
    ...commandsOf(some),
    isClosed: false,
    [Symbol.asyncDispose](): Promise<void> {
      this.isClosed = true;
      return Promise.resolve();
    },
  };
}

export const STATUS: StatusResult = {
  pid: 4711,
  supervisor_pid: null,
  mountpoint: "/mnt/music",
  cache_dir: "/cache",
  version: "0.0.0",
  uptime_s: 3_700,
  origins: [
    {
      name: "nas",
      url: "/mnt/nas",
      state: "online",
      latency_ms: 0.4,
      bytes_read: 2 ** 30,
      errors: 2,
      last_error: null,
      state_since_ms: 1_700_000_000_000,
      watch: null,
      queued: 0,
    },
    {
      name: "s3://music",
      url: "s3://music",
      state: "offline",
      latency_ms: 31.5,
      bytes_read: 1_536,
      errors: 12,
      last_error: "Cannot reach s3.example.org:443: connection refused",
      state_since_ms: 1_700_000_000_000,
      watch: null,
      queued: 4,
    },
  ],
  library: { files: 1_234, folders: 56, bytes: 7 * 2 ** 30 },
  cache: {
    mode: "on",
    used_bytes: 3 * 2 ** 30,
    limit_bytes: 20 * 2 ** 30,
    chunks: 40_000,
    chunk_bytes: 2 * 2 ** 30,
    referenced_bytes: 3 * 2 ** 30,
    dedup_ratio: 1.5,
    extent_bytes: 2 ** 20,
    pinned_bytes: 2 ** 29,
    pins: 2,
    degraded: false,
    degraded_since_ms: null,
    disk_state: "ok",
    disk_used_ratio: 0.5,
  },
  reads: { from_cache_bytes: 5 * 2 ** 30, from_origin_bytes: 2 ** 30, passthrough_opens: 0 },
  open_handles: 3,
  scan: { state: "idle", files: 0, last_complete_ms: 1_700_000_000_000 },
  index: { state: "ok", set_aside: null },
  queues: { requests: 0, fetches: 0, notifications: 0 },
  takeovers: 0,
  tasks: [{ name: "flush", state: "running", restarts: 0 }],
  faults: { warnings: 0, errors: 0, last_error: null, last_error_ms: null },
};
