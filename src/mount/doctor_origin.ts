/** Where music comes from, for `musicfs doctor`. */

import type { ErrorCode } from "../base/errors.ts";
import type { OriginStatus } from "./cache_commands.ts";
import { failed, type Finding, ok, warning } from "./doctor.ts";

/** Above this, listing and tags are slow, in ms. */
const SLOW_MS = 1_000;

const REMEDIES = {
  not_found: "name a folder that is there, or mount its disk",
  denied: "mend the credentials, host key or permissions that the message names",
  unavailable: "start the server, mend the network or the URL; a mount asks again by itself",
  timed_out: "see to the server and the network; a mount asks again by itself",
  changed: "try again",
  corrupt: "see what answers there: it is not what the URL says",
  full: "see what the message says",
  invalid: "mend the origin's URL",
} satisfies Record<ErrorCode, string>;

const LOCAL_REMEDIES = {
  ...REMEDIES,
  denied: "let this user read it: chmod -R a+rX, or a group",
  unavailable: "mount its disk, or name a folder that is there",
  timed_out: "see to its disk, or to the server behind it; umount -l gives it up",
} satisfies Record<ErrorCode, string>;

/** What asking an origin came to. */
export type OriginAnswer =
  | {
    /** Until it said what its root is, and until the first names had come, in ms. */
    latencyMs: number;
    listMs: number;
    /** At its root, as far as they were counted. */
    names: number;
    /** Whether there were more. */
    hasMore: boolean;
  }
  | { code: ErrorCode; message: string; isLocal: boolean };

export function judgeOrigin(answer: OriginAnswer): Finding {
  if ("code" in answer) {
    const { code, message, isLocal } = answer;
    return failed(message, isLocal ? LOCAL_REMEDIES[code] : REMEDIES[code]);
  }
  const { latencyMs, listMs, names, hasMore } = answer;
  const found = `answers in ${round(latencyMs)} ms, lists ${names}${hasMore ? " and more" : ""} ` +
    `names in ${round(listMs)} ms`;
  if (names === 0) return warning(`${found}: it is empty`, "see whether its disk is mounted");
  if (latencyMs > SLOW_MS || listMs > 5 * SLOW_MS) {
    return warning(found, "see to the network; what is cached plays all the same");
  }
  return ok(found);
}

/** An origin that only the daemon knows how to reach: it was named when that was started. */
export function judgeDaemonsOrigin({ state, last_error }: OriginStatus): Finding {
  const why = last_error === null ? "" : `: ${last_error}`;
  if (state === "offline") return failed(`offline, the daemon says${why}`, REMEDIES.unavailable);
  if (state === "degraded") {
    return warning(`slow or failing, the daemon says${why}`, REMEDIES.timed_out);
  }
  return ok(`${state === "online" ? "online" : "not asked yet"}, the daemon says`);
}

function round(ms: number): string {
  return ms < 10 ? ms.toFixed(1) : ms.toFixed(0);
}
