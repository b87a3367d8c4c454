/** What a fresh mount forgets of the one before it. */

import type { Index } from "../store/index.ts";
import type { OwedChanges } from "./folder_change.ts";
import { everything, versionKey } from "./keys.ts";
import type { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { entryIdOf, nodeIdOf } from "./node_id.ts";

/** Records that are purged in one transaction. */
const PURGED_MAX = 1_000;

/** Gives up what is stored of versions; `Manifests` of the store. */
export interface VersionStore {
  remove(id: number): void;
  retire(id: number, options: { keepFiles: boolean }): void;
  boundRetired(): void;
}

/** What forgetting needs of the library. */
export interface EarlierMountParts {
  index: Index;
  namespace: Namespace;
  owed: OwedChanges;
  manifests: VersionStore | undefined;
}

/**
 * Forgets superseded versions, and what its kernel had to be told. Of what is stored of them the
 * chunk lists may stay, for what was moved or retagged has the same chunks.
 */
export async function forgetEarlierMount(parts: EarlierMountParts): Promise<void> {
  const { index, owed } = parts;
  while (owed.count() > 0) {
    index.transaction(() => {
      const folders = Iterator.from(owed.all()).take(PURGED_MAX).map(({ folder }) => folder);
      for (const folder of folders.toArray()) owed.remove(folder);
    });
    await nextTurn();
  }
  const superseded = index.table("superseded");
  while (superseded.count() > 0) {
    index.transaction(() => {
      const ids = Iterator.from(superseded.range(everything())).take(PURGED_MAX)
        .map(({ key }) => Number(new DataView(key.buffer, key.byteOffset).getBigUint64(0)));
      for (const id of ids.toArray()) purge(parts, id);
    });
    await nextTurn();
  }
  parts.manifests?.boundRetired();
}

/** Only inside a transaction. */
function purge({ index, namespace, manifests }: EarlierMountParts, id: number): void {
  const now = namespace.entry(entryIdOf(id));
  const then = namespace.version(id)?.sources[0];
  const current = now && namespace.version(nodeIdOf(now.id, now.sequence))?.sources[0];
  // A file that was changed and changed back is stored under the key of both versions.
  const shared = then !== undefined && current !== undefined && then.path === current.path &&
    then.origin === current.origin && then.version === current.version;
  manifests?.retire(id, { keepFiles: shared });
  index.table("superseded").remove(versionKey(id));
}
