import type { Clock } from "../base/clock.ts";
import { countDescriptors, descriptorLimit } from "../base/descriptor_limit.ts";
import type { Log } from "../base/log.ts";

/** How often descriptors are counted, in ms. */
const COUNT_MS = 10_000;

/** Parts of the limit in use: from the first on it is told, below the second it may be told again. */
const TOLD_FROM = 0.8;
const CALM_BELOW = 0.7;

/** What a watch on descriptors goes by. */
export interface DescriptorWatchOptions {
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  /** Default: this process's. */
  count?: () => Promise<number>;
  limit?: () => number;
}

/** Warns, once each time, while there are descriptors left to do something about it. */
export async function watchDescriptors(options: DescriptorWatchOptions): Promise<void> {
  const { clock, log, signal, count = countDescriptors, limit = descriptorLimit } = options;
  let isTold = false;
  for (;;) {
    await clock.sleep(COUNT_MS, signal);
    const [open, max] = [await count(), limit()];
    if (isTold && open < CALM_BELOW * max) {
      isTold = false;
      log.info("Descriptors are no longer short", { open, limit: max });
    } else if (!isTold && open >= TOLD_FROM * max) {
      isTold = true;
      log.warning(
        "Most descriptors of this process are in use. Raise its limit (LimitNOFILE=, ulimit -n)",
        { open, limit: max },
      );
    }
  }
}
