import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { CdcChunker } from "../chunking/cdc_chunker.ts";
import { type HashName, openChunkHash } from "../chunking/chunk_hash.ts";
import { exact } from "../origins/exact.ts";
import { openWriter } from "../origins/folder_writer.ts";
import { localFolder, openOrigin, type OriginAddress } from "../origins/open.ts";
import { retrying } from "../origins/retrying.ts";
import { timeLimited } from "../origins/time_limit.ts";
import { buildIndex, type IndexProgress, type IndexResult } from "./index_build.ts";

/** How long a call may go without progress, in ms, and how slow a disk may be: as for a mount. */
const STALL_MS = 15_000;
const LOCAL_BYTES_PER_SECOND_MIN = 125_000;

/** What `musicfs index` is asked for. */
export interface IndexOptions {
  hash: HashName;
  exclude: readonly string[];
  context: { clock: Clock; random: () => number; env: (name: string) => string | undefined };
  log: Log;
  signal: AbortSignal;
  onProgress?: ((progress: IndexProgress) => void) | undefined;
}

/** Indexes a folder or bucket; see {@linkcode buildIndex}. Needs no cache and no daemon. */
export async function indexOrigin(
  address: OriginAddress,
  { hash, exclude, context, log, signal, onProgress }: IndexOptions,
): Promise<IndexResult> {
  const { clock, random, env } = context;
  const isLocal = localFolder(address.url) !== undefined;
  await using writer = await openWriter(address, { log, clock, env, random });
  await using raw = await openOrigin(address, { log, clock, env });
  const limits = isLocal ? { bytesPerSecondMin: LOCAL_BYTES_PER_SECOND_MIN } : {};
  const limited = exact(timeLimited(raw, { clock, stallMs: STALL_MS, ...limits }));
  return await buildIndex({
    origin: retrying(limited, { clock, random }),
    kind: isLocal ? "local" : "s3",
    writer,
    chunker: new CdcChunker(),
    hash: await openChunkHash(hash),
    exclude,
    clock,
    log,
    signal,
    onProgress,
  });
}
