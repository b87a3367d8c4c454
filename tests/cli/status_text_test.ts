import assert from "node:assert/strict";
import { printStatus } from "../../src/cli/status_text.ts";
import type { StatusResult } from "../../src/mount/cache_commands.ts";
import { STATUS } from "./fake_context.ts";

/** The rows that are not the same as of a daemon that is well. */
function rowsOf(changed: Partial<StatusResult>): string[] {
  const print = (status: StatusResult): string[] => {
    let text = "";
    const write = (part: string): void => void (text += part);
    printStatus({ write, isTerminal: false, columns: 0 }, status);
    return text.split("\n").map((line) => line.replace(/ {2,}/g, "  "));
  };
  const usual = new Set(print(STATUS));
  return print({ ...STATUS, ...changed }).filter((line) => !usual.has(line));
}

const SINCE_MS = Date.UTC(2026, 10, 23, 12);

Deno.test("printStatus() tells what a daemon that is well does not have", () => {
  const { cache } = STATUS;
  const cases: [changed: Partial<StatusResult>, row: string][] = [
    [{ supervisor_pid: 17 }, "daemon  4711, supervised by 17"],
    [{ takeovers: 1_000 }, "take-overs  1,000"],
    [
      {
        cache: { ...cache, degraded: true, disk_state: "refusing", degraded_since_ms: SINCE_MS },
      },
      "cache  /cache (degraded since 2026-11-23T12:00:00Z: it refuses writes)",
    ],
    [
      { cache: { ...cache, disk_state: "full", disk_used_ratio: 0.995 } },
      "cache  /cache (degraded: its disk is 99 % full, nothing more is cached)",
    ],
    [
      { index: { state: "rebuilt", set_aside: "/cache/index.bad" } },
      "index  made again at this start; the damaged one is /cache/index.bad",
    ],
    [
      { index: { state: "damaged", set_aside: null } },
      "index  damaged; it is made again at the next start",
    ],
    [
      { queues: { requests: 3, fetches: 5, notifications: 0 } },
      "waiting  3 requests for an origin, 5 fetches, 0 changes for the kernel",
    ],
    [
      {
        tasks: [
          { name: "flush", state: "running", restarts: 0 },
          { name: "scan", state: "running", restarts: 2 },
          { name: "sweep", state: "done", restarts: 0 },
          { name: "watch /music", state: "failed", restarts: 5 },
        ],
      },
      "tasks  flush, scan (2 restarts) running; sweep done; watch /music (5 restarts) failed",
    ],
    [
      { faults: { warnings: 2, errors: 1, last_error: "It\nfell", last_error_ms: SINCE_MS } },
      "faults  1 errors, 2 warnings; the last error at 2026-11-23T12:00:00Z: It\\nfell",
    ],
  ];
  for (const [changed, row] of cases) assert.deepEqual(rowsOf(changed), [row]);
});

Deno.test("printStatus() shows what a daemon of an older version tells", () => {
  const { index: _, queues: _q, takeovers: _t, tasks: _k, faults: _f, ...old } = STATUS;
  let text = "";
  const write = (part: string): void => void (text += part);
  printStatus({ write, isTerminal: false, columns: 0 }, old as StatusResult);
  assert.match(text, /^scan +idle\norigin /m);
  assert.doesNotMatch(text, /undefined/);
});
