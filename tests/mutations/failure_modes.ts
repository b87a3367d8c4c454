/** What can go wrong: the rows of the design's `failure_modes.md`, which lies outside of this project. */

export const FAILURE_MODES = {
  A1: { goesWrong: "SIGTERM / SIGINT", layers: "D" },
  A2: { goesWrong: "unhandled error or rejection anywhere", layers: "P D" },
  A3: { goesWrong: "an exception inside one FUSE request", layers: "P D" },
  A4: { goesWrong: "daemon killed (-9, OOM), mount left dead", layers: "D S" },
  A4b: {
    goesWrong:
      "daemon killed (-9) while readers wait and the descriptor is held (systemd's fd store, or the supervising parent)",
    layers: "D S",
  },
  A4c: {
    goesWrong:
      "upgrade or restart on purpose under readers (`RestartKillSignal=SIGUSR1`, `mount --replace`)",
    layers: "D S",
  },
  A5: { goesWrong: "systemd thinks it never started / already gone", layers: "P S" },
  A6: { goesWrong: "daemon hangs", layers: "S" },
  A7: { goesWrong: "two daemons, one cache or one mountpoint", layers: "D" },
  B1: {
    goesWrong:
      "killed while writing a chunk, at every step (before write, after write before rename, after rename before index)",
    layers: "P D",
  },
  B2: {
    goesWrong:
      "index corrupt (bytes overwritten at head, middle, truncated, foreign file, wrong version)",
    layers: "P D",
  },
  B3: { goesWrong: "interrupted scan", layers: "P D" },
  B4: { goesWrong: "integrity at start", layers: "P" },
  B5: { goesWrong: "restart", layers: "D" },
  C1: { goesWrong: "cache disk full (real ENOSPC on a small tmpfs)", layers: "P D" },
  C2: { goesWrong: "cache disk read-only, permission lost, EIO", layers: "P D" },
  C3: { goesWrong: "a chunk is corrupt or missing", layers: "P D" },
  C4: { goesWrong: "chunk corrupt and the origin's file changed", layers: "P" },
  C5: { goesWrong: "out of file descriptors", layers: "P D" },
  D1: { goesWrong: "origin hangs (TCP stall)", layers: "P N" },
  D2: { goesWrong: "origin refuses / resets / closes mid-body", layers: "P N" },
  D3: { goesWrong: "slow origin (500 ms latency; bandwidth cap)", layers: "P N" },
  D4: { goesWrong: "primary down, backup up", layers: "P N" },
  D5: { goesWrong: "all origins down", layers: "P N" },
  D6: { goesWrong: "health probes: hanging, many at once", layers: "P" },
  D7: { goesWrong: "DNS failure", layers: "P" },
  D8: {
    goesWrong: "origin empty, unmounted, credentials expired, listing cut short",
    layers: "P N",
  },
  D9: {
    goesWrong: "wrong or unknown SSH host key; bad TLS certificate; wrong credentials",
    layers: "N",
  },
  D10: {
    goesWrong: "short body, over-long body, wrong range, garbage listing, changed file mid-read",
    layers: "P N",
  },
  E1: {
    goesWrong: "watcher drops events (with or without a flag), watcher dies, origin returns",
    layers: "P D",
  },
  E2: { goesWrong: "file replaced while it is being read", layers: "P D" },
  E3: { goesWrong: "clock jumps", layers: "P" },
  E4: {
    goesWrong: "100 parallel readers, 1,000 open handles, a directory of 100,000 entries",
    layers: "D",
  },
  E5: {
    goesWrong: "malformed audio, odd names (newline, emoji, 255 bytes, invalid UTF-8, `..`)",
    layers: "P D",
  },
  E6: { goesWrong: "write attempts of every kind", layers: "D" },
  E7: { goesWrong: "memory: a million files", layers: "D" },
  E8: { goesWrong: "gc beside a mount that is reading", layers: "P D" },
  E9: {
    goesWrong: "somebody unmounts from outside (`umount`, `fusermount3 -u`; ENODEV)",
    layers: "D S",
  },
  E10: { goesWrong: "one track larger than `max_size`", layers: "P D" },
} as const satisfies Record<string, { goesWrong: string; layers: string }>;

export type RowId = keyof typeof FAILURE_MODES;
