import type { Index } from "../store/index.ts";
import { COMMIT_CHANGES_MAX } from "./committer.ts";
import { unlistedFolder } from "./entry.ts";
import { inOrder } from "./federation.ts";
import { everything, originKey, u32At } from "./keys.ts";
import { readOrder, writeOrder } from "./library_meta.ts";
import type { Namespace } from "./namespace.ts";
import { NamespaceEdit, type Takeover } from "./namespace_edit.ts";
import { ROOT_ID } from "./node_id.ts";
import { dropSource, entriesBelow, replaceSources, type SourceRemoval } from "./source_edit.ts";

/** What adopting origins needs. */
export interface AdoptParts {
  index: Index;
  namespace: Namespace;
  /** Wall-clock ms. */
  nowMs: number;
  /** Told of versions that another source took over. */
  onTakeover?: ((takeover: Takeover) => void) | undefined;
}

/**
 * Makes the tree one of exactly these origins, the preferred one first; their numbers.
 *
 * With the same origins as before, or with more of them at the end, nothing is to do but the root.
 * Names that only origins have which are no longer configured go; that walks the whole tree, and
 * so does another order. What was interrupted is done again by the next call.
 */
export function adoptOrigins(parts: AdoptParts, identities: readonly string[]): number[] {
  const { index, namespace } = parts;
  const order = index.transaction(() => identities.map((identity) => numberOf(index, identity)));
  const rankOf = (origin: number): number => order.indexOf(origin);
  const before = readOrder(index);
  const kept = before.filter((origin) => order.includes(origin));
  for (const dropped of before.filter((origin) => !order.includes(origin))) {
    dropBelow(parts, { id: ROOT_ID, origin: dropped, rankOf });
  }
  if (kept.some((origin, i) => i > 0 && rankOf(origin) < rankOf(kept[i - 1] ?? 0))) {
    reorder(parts, rankOf);
  }
  change(parts, (edit) => {
    const root = namespace.entry(ROOT_ID);
    if (!root) return;
    const sources = order.map((origin) =>
      root.sources.find((source) => source.origin === origin) ?? unlistedFolder(origin)
    );
    edit.setSources(root, sources);
    writeOrder(index, order);
  });
  return order;
}

function change(parts: AdoptParts, work: (edit: NamespaceEdit) => void): void {
  const takeovers: Takeover[] = [];
  NamespaceEdit.run({ ...parts, takeovers }, work);
  for (const takeover of takeovers) parts.onTakeover?.(takeover);
}

/** The number of an origin; a new one gets the next. */
function numberOf(index: Index, identity: string): number {
  const table = index.table("origins");
  let last = 0;
  for (const { key, value } of table.range(everything())) {
    last = new DataView(key.buffer, key.byteOffset, key.byteLength).getUint16(0);
    if (new TextDecoder().decode(value) === identity) return last;
  }
  table.put(originKey(last + 1), new TextEncoder().encode(identity));
  return last + 1;
}

/** Takes an origin from everything below a folder, the folder itself left as it is. */
function dropBelow(parts: AdoptParts, { id, origin, rankOf }: SourceRemoval): void {
  let ids: number[] = [];
  const commit = (): void => {
    change(parts, (edit) => {
      for (const id of ids) dropSource(edit, { id, origin, rankOf });
    });
    ids = [];
  };
  for (const entry of entriesBelow(parts.namespace, id, origin)) {
    if (entry.id === id) continue;
    ids.push(entry.id);
    if (ids.length >= COMMIT_CHANGES_MAX) commit();
  }
  commit();
}

/** Puts every entry's sources into the new order. */
function reorder(parts: AdoptParts, rankOf: (origin: number) => number): void {
  let after = 0;
  for (let more = true; more;) {
    const ids: number[] = [];
    const from = new Uint8Array(4);
    new DataView(from.buffer).setUint32(0, after + 1);
    for (const { key } of parts.index.table("entries").range({ ...everything(), start: from })) {
      ids.push(u32At(key, 0));
      if (ids.length >= COMMIT_CHANGES_MAX) break;
    }
    change(parts, (edit) => {
      for (const id of ids) {
        const sources = parts.namespace.entry(id)?.sources;
        if (id === ROOT_ID || sources === undefined || sources.length < 2) continue;
        replaceSources(edit, { id, sources: inOrder(sources, rankOf), rankOf });
      }
    });
    after = ids.at(-1) ?? after;
    more = ids.length > 0;
  }
}
