import type { Negotiated } from "../fuse/negotiation.ts";
import type { Presentation } from "../fuse/reply.ts";

/** What the FUSE worker is told once, when it starts; it cannot receive anything later. */
export interface WorkerStart {
  descriptor: number;
  cacheDir: string;
  /** Shared with the index of the main thread, which counts its commits in it. */
  shared: SharedArrayBuffer;
  /** The worker counts in here; see `SharedCounters`. */
  counters: SharedArrayBuffer;
  presentation: Presentation;
  hash: "xxh128" | "xxh64";
  cacheFolders: boolean;
  /** Origins whose files are opened directly: identity and root folder. */
  directRoots: readonly { origin: string; root: string }[];
  /** Whether the kernel may read those files itself. */
  passthrough: boolean;
  /** Bytes that the kernel may read ahead of a reader. */
  readAheadBytes: number;
  /** From 1 to 2^20, another one in each daemon of a mount; the high half of handles. */
  nonce: number;
  /** What was agreed on by an earlier worker or daemon of this mount; undefined: INIT comes. */
  resumed: Negotiated | undefined;
  /** `MUSICFS_FAILPOINTS`, for tests. */
  failpoints: { spec: string; seed: number } | undefined;
}

/** What the worker says. */
export type WorkerMessage =
  | { type: "ready" }
  | { type: "initialized"; agreed: Negotiated }
  | { type: "deferred"; request: Uint8Array<ArrayBuffer> }
  | { type: "elsewhere"; handle: number }
  | { type: "interrupted"; uniqueLow: number; uniqueHigh: number }
  | { type: "opened"; version: number }
  | { type: "released"; version: number; handle: number }
  | { type: "report"; uses: Float64Array<ArrayBuffer> }
  | { type: "failed"; opcode: number; error: string }
  | { type: "ended"; errno: number };
