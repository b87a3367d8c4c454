import type { Link } from "../support/link_proxy.ts";
import { eventually } from "../support/process.ts";

/** What a probe of equal contents reads of each file: head and tail. */
const PROBE_BYTES = 2 * 16 * 1024;

/** Waits until a backup has been asked for head and tail of every file, and then no more. */
export async function proven(link: Link, files: number): Promise<void> {
  let last = -1;
  let still = 0;
  await eventually(async () => {
    const { down } = await link.bytes();
    still = down === last ? still + 1 : 0;
    last = down;
    return down > files * PROBE_BYTES && still > 20;
  }, { ms: 60_000, what: "every file of the backup compared with the primary's" });
}
