/// <reference lib="deno.worker" />
/**
 * The FUSE worker: a thread that blocks in `read(2)` on `/dev/fuse` and answers all that needs no
 * origin. It is told one thing, at its start, and then only tells.
 */
import { openChunkHash } from "../chunking/chunk_hash.ts";
import { openXxh64 } from "../chunking/xxh64.ts";
import { systemClock } from "../base/clock.ts";
import { enableFailpoints } from "../base/failpoint.ts";
import { OpenFiles } from "../fuse/open_files.ts";
import { Operations } from "../fuse/operations.ts";
import { Reply } from "../fuse/reply.ts";
import { serveSession, type SessionHooks } from "../fuse/session.ts";
import { Namespace } from "../library/namespace.ts";
import { CachedReader } from "../reader/cached_reader.ts";
import type { Index } from "../store/index.ts";
import { sourceKeyOf } from "../store/file_version.ts";
import { openIndexReader } from "../store/safe_open.ts";
import { DeferredReads } from "./deferred_reads.ts";
import { DirectFiles } from "./direct_files.ts";
import { HandleLedgerFile, LEDGER_FILE } from "./handle_ledger.ts";
import { SharedCounters } from "./shared_counters.ts";
import type { WorkerMessage, WorkerStart } from "./worker_messages.ts";

/** Bytes read of files that are not whole after which the main thread must know where readers are. */
const URGENT_BYTES = 1024 * 1024;

/** Chances in [0, 1) from a seed, for failpoints alone. Source: Numerical Recipes' `ranqd1`. */
function chancesFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function tell(message: WorkerMessage): void {
  self.postMessage(message);
}

self.onmessage = async (event: MessageEvent<WorkerStart>): Promise<void> => {
  tell({ type: "ended", errno: await serve(event.data) });
};

async function serve(start: WorkerStart): Promise<number> {
  const { descriptor, cacheDir, shared, failpoints } = start;
  if (failpoints) {
    const print = (line: string): void => tell({ type: "failed", opcode: 0, error: line });
    enableFailpoints(failpoints.spec, { random: chancesFrom(failpoints.seed), print });
  }
  const index = await openIndexReader({ dir: `${cacheDir}/index`, shared });
  const namespace = new Namespace(index);
  const keyHash = await openChunkHash("xxh128");
  const reader = new CachedReader({
    index,
    cacheDir,
    hash: await openChunkHash(start.hash),
    xxh64: await openXxh64(),
    clock: systemClock,
    keyOf: (version) => sourceKeyOf(version.sources[0], keyHash),
    describe: (version) => namespace.version(version),
  });
  const counters = new SharedCounters(start.counters);
  const ledger = HandleLedgerFile.open(`${cacheDir}/${LEDGER_FILE}`, {
    resumed: start.resumed !== undefined,
    isNeeded: start.directRoots.length > 0,
  });
  const direct = new DirectFiles({ ...start, namespace, ledger, counted: counters });
  if (start.resumed) direct.allowPassthrough(start.resumed.passthrough);
  const files = new OpenFiles({
    namespace,
    reader,
    direct,
    observer: {
      opened: (version) => {
        if (!reader.isWhole(version)) tell({ type: "opened", version });
      },
      released: (version, handle) => tell({ type: "released", version, handle }),
    },
    counters,
    ledger,
    nonce: start.nonce,
  });
  const reply = new Reply(start.presentation);
  const { cacheFolders } = start;
  const operations = new Operations({
    namespace,
    files,
    reply,
    cacheFolders,
    answersUnlisted: false,
  });
  tell({ type: "ready" });
  return serveSession({
    descriptor,
    operations,
    reply,
    hooks: hooksOf({ index, reader, direct, counters }),
    clock: systemClock,
    passthrough: start.passthrough,
    readAheadBytes: start.readAheadBytes,
    inHand: counters.inHand,
    asksForOwed: start.resumed?.resend === true,
    cores: navigator.hardwareConcurrency,
  });
}

function hooksOf(parts: {
  index: Index;
  reader: CachedReader;
  direct: DirectFiles;
  counters: SharedCounters;
}): SessionHooks {
  const { index, reader, direct, counters } = parts;
  let evictions = counters.evictions;
  const deferredReads = new DeferredReads();
  return {
    initialized: (agreed) => {
      direct.allowPassthrough(agreed.passthrough);
      tell({ type: "initialized", agreed });
    },
    deferred: (request) => {
      deferredReads.deferred(request);
      tell({ type: "deferred", request });
    },
    answeredRead: (request, ms) => {
      counters.reads.observe(ms);
      const handle = deferredReads.elsewhere(request);
      if (handle !== undefined) tell({ type: "elsewhere", handle });
    },
    interrupted: (uniqueLow, uniqueHigh) => tell({ type: "interrupted", uniqueLow, uniqueHigh }),
    failed: (opcode, error) => {
      const text = error instanceof Error ? error.stack ?? error.message : String(error);
      tell({ type: "failed", opcode, error: text });
    },
    refresh: () => {
      index.releaseSnapshot();
      if (counters.evictions === evictions) return;
      evictions = counters.evictions;
      reader.closeFiles();
    },
    idle: () => index.releaseSnapshot(),
    longIdle: () => reader.closeFiles(),
    generation: () => index.generation(),
    isReportUrgent: () => reader.partialBytes >= URGENT_BYTES,
    report: () => {
      const uses = reader.uses();
      if (uses.length > 0) tell({ type: "report", uses });
    },
  };
}
