import type { OriginEntry } from "../origins/origin.ts";

/** One folder as an index that lies beside the music has it. Nothing of it is trusted. */
export interface PublishedFolder {
  /** Below the origin's root; "" is the root. */
  path: string;
  /** As `stat` would tell it; 0 where the origin has none. */
  mtimeNs: bigint;
  /** What `Origin.list(path)` would yield, with versions as that origin gives them. */
  entries: readonly OriginEntry[];
}

/** The names of a whole origin, as somebody published them; `PublishedIndex` is one. */
export interface PublishedNames {
  /** Depth first, as `find` walks; each folder comes before what is in it. */
  folders(): Iterable<PublishedFolder>;
}

/** The names published of an origin; undefined if there are none, or none that can be used. */
export type FindPublished = (
  originName: string,
  signal: AbortSignal,
) => Promise<PublishedNames | undefined>;
