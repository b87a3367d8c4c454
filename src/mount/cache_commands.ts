/**
 * What can be asked of a cache: by the command line when nobody holds its lock, through the control
 * socket when a daemon does. Results are plain JSON with snake_case names, because `--json` prints
 * them as they are: the names are a contract with other programs. Sizes are bytes, times seconds.
 */

/** What `musicfs gc` is asked for. */
export interface GcOptions {
  /** Evict down to this many bytes; undefined: the limit that is configured. */
  maxSizeBytes?: number | undefined;
  /** Count what would go, and leave it. */
  dryRun: boolean;
}

/** What `musicfs gc` did, or would do. */
export interface GcResult {
  dry_run: boolean;
  limit_bytes: number;
  /** Bytes on disk before and after, all that the limit counts; with `dry_run`, as if it were done. */
  used_bytes_before: number;
  used_bytes_after: number;
  evicted_chunks: number;
  evicted_chunk_bytes: number;
  evicted_extents: number;
  evicted_extent_bytes: number;
  /** Files that nothing refers to: chunks, manifests, extents and temporary files. */
  orphans: number;
  orphan_bytes: number;
  /** Bytes on disk that are never evicted, because they are pinned. */
  pinned_bytes: number;
}

/** One difference that a scan found between an origin and the library. */
export interface ScanChange {
  kind: "added" | "changed" | "moved" | "gone";
  /** Path in the tree; for what moved, where it is now. */
  path: string;
  /** Where a moved entry was; absent for all others. */
  from?: string | undefined;
}

/** How far a scan is, and what it found since it last said so. */
export interface ScanProgress {
  /** Identity of the origin being walked; "" if only changes are told. */
  origin: string;
  folders: number;
  files: number;
  /** Found since the last progress, at most {@linkcode CHANGES_PER_PROGRESS_MAX}; in no order. */
  changes: readonly ScanChange[];
}

/** Changes in one {@linkcode ScanProgress}: with 4 KiB of path each it still fits a control line. */
export const CHANGES_PER_PROGRESS_MAX = 500;

/** What `musicfs scan` is asked for. */
export interface ScanOptions {
  /** Identities of the origins to walk; undefined: all that are configured. */
  origins?: readonly string[] | undefined;
  /** Compare content where size and time say that nothing changed. */
  checksum: boolean;
  /** Let entries go although the guard against mass deletion would keep them. */
  acceptDeletions: boolean;
  /** Identities of origins of which folders whose time is what it was need not be listed. */
  skipUnchanged?: readonly string[] | undefined;
  onProgress?: ((progress: ScanProgress) => void) | undefined;
}

/** What became of one origin's scan. */
export interface OriginScanResult {
  name: string;
  /** `held`: deletions wait for a second scan that agrees, or for `--accept-deletions`. */
  state: "complete" | "held" | "failed";
  folders: number;
  files: number;
  added: number;
  changed: number;
  moved: number;
  gone: number;
  /** Entries that the guard against mass deletion kept. */
  held_deletions: number;
  /** Whether it went on with a scan that was interrupted a short while ago. */
  resumed: boolean;
  seconds: number;
  /** Why it failed; null if it did not. */
  error: string | null;
}

/** What `musicfs scan` found. */
export interface ScanResult {
  origins: OriginScanResult[];
}

/** How far a verification is. */
export interface VerifyProgress {
  checked_chunks: number;
  total_chunks: number;
  checked_bytes: number;
  bad_chunks: number;
}

/** What `musicfs verify` is asked for. */
export interface VerifyOptions {
  /** Fetch bad and missing chunks again. */
  repair: boolean;
  onProgress?: ((progress: VerifyProgress) => void) | undefined;
}

/** What `musicfs verify` found. */
export interface VerifyResult {
  checked_chunks: number;
  checked_bytes: number;
  /** Chunks whose bytes do not match their hash. */
  bad_chunks: number;
  /** Chunks that the index knows and the disk has not. */
  missing_chunks: number;
  /** Extent blocks whose bytes do not match their checksum. */
  bad_extent_blocks: number;
  /** Bad and missing ones that are right again. */
  repaired_chunks: number;
  repaired_extent_blocks: number;
  /** Paths in the tree that bad or missing chunks belong to, at most 1,000. */
  paths: string[];
  seconds: number;
}

/** A file or folder as it was typed. */
export interface TypedPath {
  typed: string;
  /** Paths in the tree that may be meant, the likelier first. */
  candidates: readonly string[];
}

/** How far `warm` or `pin` is. */
export interface WarmProgress {
  done_files: number;
  total_files: number;
  /** Bytes of the files that are done, and of all of them. */
  done_bytes: number;
  total_bytes: number;
  fetched_bytes: number;
}

/** What `musicfs warm` and `musicfs pin` are asked for. */
export interface WarmOptions {
  /** Files, and folders with all that lies below them. */
  paths: readonly TypedPath[];
  /** Ends it early: what was fetched by then stays. */
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: WarmProgress) => void) | undefined;
}

/** Failures that `warm` and `pin` name; the rest is counted. */
export const FAILURES_MAX = 100;

/** What `musicfs warm` did. */
export interface WarmResult {
  /** All files below the paths, and their sizes. */
  files: number;
  bytes: number;
  fetched_bytes: number;
  /** Files and folders that could not be fetched as a whole. */
  failed: number;
  /** At most {@linkcode FAILURES_MAX} of them, each with the reason. */
  failures: { path: string; error: string }[];
  seconds: number;
}

/** What `musicfs pin PATH` did. */
export interface PinResult extends WarmResult {
  /** Paths in the tree that are pinned now. */
  pinned: string[];
}

/** What `musicfs unpin` did. */
export interface UnpinResult {
  /** Paths in the tree that were pinned. */
  unpinned: string[];
}

/** One pin. */
export interface PinStatus {
  /** In the tree, without a `/` at its ends; "" for all of it. */
  path: string;
  /** When it was pinned, in ms since 1970. */
  since_ms: number;
  files: number;
  bytes: number;
  /** Bytes that are yet to be fetched. */
  missing_bytes: number;
}

/** What `musicfs pin` without a path shows. */
export interface PinsResult {
  pins: PinStatus[];
  pinned_bytes: number;
  limit_bytes: number;
}

/** One origin, in `musicfs status`. */
export interface OriginStatus {
  name: string;
  /** Without credentials and options. */
  url: string;
  /** `degraded`: some calls fail, or all of them are slow. */
  state: "online" | "degraded" | "offline" | "unknown";
  /** Median of the last calls in ms; null before the first. */
  latency_ms: number | null;
  bytes_read: number;
  errors: number;
  /** What went wrong last, on one line; null if nothing did. */
  last_error: string | null;
  /** When it came into this state, in ms since 1970; null if nobody noted it. */
  state_since_ms: number | null;
  /** How a local folder is watched for changes; null for what is only polled by configuration. */
  watch: WatchStatus | null;
  /** Calls that wait until one of those under way is over. */
  queued: number;
}

/** The watch of one local origin, in `musicfs status`. */
export interface WatchStatus {
  /**
   * `limited`: the kernel's limit is reached, and changes in some folders show after the poll
   * interval; `polled`: on a network's disk, which tells nothing; `failed`: no watch to be had;
   * `idle`: nothing was listed yet.
   */
  state: "idle" | "watching" | "limited" | "polled" | "failed";
  folders: number;
}

/** What `musicfs status` shows. */
export interface StatusResult {
  /** The daemon; null when none runs. */
  pid: number | null;
  /** The parent that holds the mount for it; null without one. */
  supervisor_pid: number | null;
  mountpoint: string | null;
  cache_dir: string;
  version: string;
  /** Seconds since the daemon started; 0 when none runs. */
  uptime_s: number;
  origins: OriginStatus[];
  library: { files: number; folders: number; bytes: number };
  cache: {
    mode: "on" | "off" | "auto";
    used_bytes: number;
    limit_bytes: number;
    chunks: number;
    chunk_bytes: number;
    /** What the chunks would take without deduplication. */
    referenced_bytes: number;
    /** `referenced_bytes / chunk_bytes`; 1 when there are no chunks. */
    dedup_ratio: number;
    extent_bytes: number;
    /** Bytes on disk that are never evicted, and the paths that were pinned. */
    pinned_bytes: number;
    pins: number;
    /** The cache disk refuses writes, or is full: bytes go from origin to reader. */
    degraded: boolean;
    /** Since when, in ms since 1970; null while it takes writes. */
    degraded_since_ms: number | null;
    /**
     * What keeps new bytes from being cached, or may do so soon: `high` from 90 % of the disk in use,
     * by whomever; `evicting` from 95 %; `full` from 99 %; `refusing`: writes fail.
     */
    disk_state: "ok" | "high" | "evicting" | "full" | "refusing";
    /** The part of the disk in use, in [0, 1]; null where it does not tell. */
    disk_used_ratio: number | null;
  };
  /** Since the daemon started. `passthrough`: opens whose reads the kernel answers by itself. */
  reads: { from_cache_bytes: number; from_origin_bytes: number; passthrough_opens: number };
  open_handles: number;
  scan: {
    state: "idle" | "running" | "held" | "failed";
    /** Files seen by the scan under way; 0 when idle. */
    files: number;
    /** When the last complete scan ended, in ms since 1970; null before the first. */
    last_complete_ms: number | null;
  };
  index: {
    /** `rebuilt`: at this start, out of what is cached; `damaged`: it will be at the next one. */
    state: "ok" | "rebuilt" | "damaged";
    /** What the damaged index was renamed to at this start; null if it was not. */
    set_aside: string | null;
  };
  queues: {
    /** Requests of readers that wait for an origin. */
    requests: number;
    /** Ranges of files that are on their way, also those that nobody waits for yet. */
    fetches: number;
    /** Changes that the kernel has not been told of yet. */
    notifications: number;
  };
  /** Daemons that took the mount over from another since it was made. */
  takeovers: number;
  /** What goes on beside the mount; empty without a daemon. */
  tasks: TaskStatus[];
  /** Since the daemon started. */
  faults: {
    /** Messages of these levels that were logged, or would have been. */
    warnings: number;
    errors: number;
    /** The last error, on one line, and when, in ms since 1970; null if there was none. */
    last_error: string | null;
    last_error_ms: number | null;
  };
}

/** A task beside the mount, in `musicfs status`. */
export interface TaskStatus {
  name: string;
  /** `failed`: it was started again five times, and was given up. */
  state: "running" | "done" | "failed";
  restarts: number;
}

/**
 * A cache's commands, as the daemon and the command line both offer them.
 *
 * Every method throws `MusicfsError`. They are safe beside readers and beside each other.
 */
export interface CacheCommands {
  gc(options: GcOptions): Promise<GcResult>;
  scan(options: ScanOptions): Promise<ScanResult>;
  verify(options: VerifyOptions): Promise<VerifyResult>;
  warm(options: WarmOptions): Promise<WarmResult>;
  /** Keeps the paths for offline use, and what appears below them later; fetches them. */
  pin(options: WarmOptions): Promise<PinResult>;
  unpin(options: { paths: readonly TypedPath[] }): Promise<UnpinResult>;
  pins(): Promise<PinsResult>;
  status(): Promise<StatusResult>;
}

/** What a daemon answers on its control socket beyond that. */
export interface DaemonCommands extends CacheCommands {
  /** Begins to stop, and returns before it has: the caller watches the mount and the process. */
  unmount(): Promise<void>;
}
