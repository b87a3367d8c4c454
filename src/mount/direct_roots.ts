import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import { isLocalDisk } from "../origins/local_disk.ts";
import { localFolder } from "../origins/open.ts";
import type { Config } from "./config.ts";

/** A disk that does not answer within this time is taken for a network's, in ms. */
const STATFS_MS_MAX = 1_000;

/**
 * The origins whose files are opened themselves, without the cache: none with `cache = "on"`, the
 * local folders with "off", those on a disk of this machine with "auto".
 */
export async function directRootsOf(
  { config }: { config: Config },
  clock: Clock,
): Promise<{ origin: string; root: string }[]> {
  if (config.cache === "on") return [];
  const isLocalSoon = async (root: string): Promise<boolean> =>
    await within(isLocalDisk(root), { ms: STATFS_MS_MAX, clock }) === true;
  const roots: { origin: string; root: string }[] = [];
  for (const { name, url } of config.origins) {
    const root = localFolder(url);
    if (root === undefined) continue;
    if (config.cache === "off" || await isLocalSoon(root)) {
      roots.push({ origin: name, root });
    }
  }
  return roots;
}
