/** One `[[origin]]` of the configuration, or one `--origin`. */
export interface OriginConfig {
  /** Identity: the configured name, else the URL without credentials and options. */
  name: string;
  /** As it was typed; a relative path has been made absolute. */
  url: string;
  /** Lower is asked first. */
  priority: number;
}

/** One `[[hook]]` of the configuration: what is run after the library changed. */
export type HookConfig =
  & {
    /** Longest a run may take, in ms. */
    timeoutMs: number;
    /** Least time from the begin of one run to that of the next, in ms. */
    minIntervalMs: number;
  }
  & (
    /** Program and arguments, for no shell. */
    | { command: readonly string[] }
    | { url: string; method: "GET" | "POST"; headers: Readonly<Record<string, string>> }
  );

/** Everything that can be configured, resolved from flags, environment, file and defaults. */
export interface Config {
  cacheDir: string;
  /** undefined: the lesser of 20 GiB and half of what is free. */
  maxSizeBytes: number | undefined;
  cache: "on" | "off" | "auto";
  readTimeoutMs: number;
  pollIntervalMs: number;
  /** Whether local origins tell of changes; what they do not tell of is found every poll interval. */
  watch: boolean;
  /** Whether two FLAC files of one MD5 and other tags are taken to hold the same audio. */
  trustAudioMd5: boolean;
  /** Names that are left out wherever they stand in a path. */
  exclude: readonly string[];
  origins: readonly OriginConfig[];
  /** What a daemon runs after a change, each by itself. */
  hooks: readonly HookConfig[];
  hash: "xxh128" | "xxh64";
  umask: number;
  /** undefined: the user who mounts. */
  uid: number | undefined;
  gid: number | undefined;
  allowOther: boolean;
  /** Most that is read from all origins together, in bytes a second; undefined: no limit. */
  bwlimitBytes: number | undefined;
  /** undefined: info for a daemon, error for a command, whose own lines say what matters. */
  logLevel: "debug" | "info" | "warning" | "error" | undefined;
  logFormat: "text" | "json" | "journald";
  /** Where figures are served for Prometheus; undefined: nowhere. */
  metrics: MetricsAddress | undefined;
}

/** A loopback address, port 0 for any that is free, or the absolute path of a socket. */
export type MetricsAddress =
  | { transport: "tcp"; hostname: string; port: number }
  | { transport: "unix"; path: string };
