/**
 * What `musicfs events` tells: plain JSON with snake_case names, one object an event. The names are a
 * contract with other programs, and docs/operations.md lists them; what is added later is a new kind
 * of event or a new field, never another meaning.
 */

import * as v from "valibot";

/** When it happened, in ms since 1970. */
const at = { time_ms: v.number() };

const origin = { ...at, origin: v.string() };

/** Path in the tree, without a `/` at its ends. */
const file = { ...at, path: v.string() };

const STOP_REASONS = ["signal", "handover", "unmount", "outside", "fault"] as const;

/** Every event. */
export const DaemonEventSchema = v.variant("event", [
  /** First of all: from now on nothing is missed. */
  v.strictObject({
    event: v.literal("connected"),
    ...at,
    pid: v.number(),
    mountpoint: v.string(),
    version: v.string(),
  }),
  v.strictObject({ event: v.literal("added"), ...file }),
  v.strictObject({ event: v.literal("changed"), ...file }),
  v.strictObject({ event: v.literal("removed"), ...file }),
  /** `from`: where it was. */
  v.strictObject({ event: v.literal("moved"), ...file, from: v.string() }),
  /** `offline_s`: how long it had been offline; 0 if it had not. */
  v.strictObject({ event: v.literal("origin_up"), ...origin, offline_s: v.number() }),
  /** `reason`: what went wrong last, on one line; null if it is slow and no more. */
  v.strictObject({
    event: v.literal("origin_degraded"),
    ...origin,
    reason: v.nullable(v.string()),
  }),
  v.strictObject({ event: v.literal("origin_down"), ...origin, reason: v.nullable(v.string()) }),
  /** Files of the cache that made room since the last such event, at least 1 s ago. */
  v.strictObject({
    event: v.literal("evicted"),
    ...at,
    chunks: v.number(),
    extents: v.number(),
    bytes: v.number(),
  }),
  v.strictObject({ event: v.literal("scan_begun"), ...origin }),
  /** `interrupted`: the daemon stopped, or it failed altogether. The rest is as `scan --json` has it. */
  v.strictObject({
    event: v.literal("scan_ended"),
    ...origin,
    state: v.picklist(["complete", "held", "failed", "interrupted"]),
    resumed: v.boolean(),
    folders: v.number(),
    files: v.number(),
    added: v.number(),
    changed: v.number(),
    moved: v.number(),
    gone: v.number(),
    held_deletions: v.number(),
    seconds: v.number(),
    error: v.nullable(v.string()),
  }),
  /** So many events did not reach this client, which reads too slowly. */
  v.strictObject({ event: v.literal("lost"), ...at, count: v.number() }),
  /** The last event. `handover`: a successor takes the mount over. */
  v.strictObject({ event: v.literal("stopping"), ...at, reason: v.picklist(STOP_REASONS) }),
]);

/** One thing that happened in a daemon. */
export type DaemonEvent = v.InferOutput<typeof DaemonEventSchema>;
