/** What a probe of the index found. */
export type ProbeResult = "ok" | { bad: string };

/** Exit codes of the probe's process. Deno's own are 1, or 128 and a signal's number. */
export const PROBE_OK = 0;
export const PROBE_BAD = 3;
