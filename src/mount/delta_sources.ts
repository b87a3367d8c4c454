/** What the reader is told of other versions that may hold the same bytes. */

import type { Namespace } from "../library/namespace.ts";
import { entryIdOf, nodeIdOf, sequenceOf } from "../library/node_id.ts";
import type { DeltaSources } from "../reader/donor_search.ts";
import { DONORS_MAX } from "../store/donors.ts";
import type { FileVersion } from "../store/file_version.ts";
import type { Manifests } from "../store/manifests.ts";
import type { ChangeRelay } from "./cache.ts";
import type { Config } from "./config.ts";

/** What is known of versions. */
export interface DeltaSourcesParts {
  config: Config;
  namespace: Namespace;
  manifests: Manifests;
  changes: ChangeRelay;
}

/** All of `DeltaSources` that the library and the configuration know. */
export function deltaSources(
  { config, namespace, manifests, changes }: DeltaSourcesParts,
): DeltaSources {
  return {
    trustAudioMd5: config.trustAudioMd5,
    isCurrent: (id) => namespace.entry(entryIdOf(id))?.sequence === sequenceOf(id),
    predecessors: ({ id }: FileVersion) => {
      // Those of this mount, and those of which only chunks are left.
      const ids = new Set(Iterator.from(namespace.predecessors(id)).take(DONORS_MAX));
      const first = nodeIdOf(entryIdOf(id), 0);
      for (const earlier of manifests.latestIn(first, id, DONORS_MAX)) ids.add(earlier);
      return [...ids].sort((a, b) => b - a).map((earlier) => ({ id: earlier }));
    },
    onRefused: ({ id }: FileVersion) => changes.forgetBytes?.(id),
  };
}
