import type { Entry, EntrySource } from "./entry.ts";
import { inOrder, merged } from "./federation.ts";
import type { Namespace } from "./namespace.ts";
import type { NamespaceEdit } from "./namespace_edit.ts";

/** A source that is to be taken from an entry. */
export interface SourceRemoval {
  id: number;
  origin: number;
  /** Lower is preferred. */
  rankOf: (origin: number) => number;
}

/**
 * Takes one origin from an entry, which goes if that was the last. What lies below it and has the
 * origin, too, must have lost it before.
 */
export function dropSource(edit: NamespaceEdit, { id, origin, rankOf }: SourceRemoval): void {
  const entry = edit.namespace.entry(id);
  const rest = entry?.sources.filter((source) => source.origin !== origin);
  if (entry === undefined || rest === undefined || rest.length === entry.sources.length) return;
  // Something was added to the folder while it was being emptied.
  if (rest.length === 0 && edit.namespace.hasChildren(id)) return;
  edit.found(origin, id);
  replaceSources(edit, { id, sources: inOrder(rest, rankOf), rankOf });
}

/** Gives an entry its sources; a folder that becomes something else is emptied first. */
export function replaceSources(
  edit: NamespaceEdit,
  { id, sources, rankOf }: Pick<SourceRemoval, "id" | "rankOf"> & { sources: EntrySource[] },
): void {
  const { namespace } = edit;
  const entry = namespace.entry(id);
  if (!entry) return;
  if (entry.kind === "folder" && merged(sources, 0n).kind !== "folder") {
    for (const { origin } of entry.sources) {
      for (const below of [...entriesBelow(namespace, id, origin)]) {
        if (below.id !== id) dropSource(edit, { id: below.id, origin, rankOf });
      }
    }
    for (const source of sources) source.listed = false;
  }
  edit.setSources(entry, sources);
}

/**
 * The entry and all below it that have the origin as a source, children before their folders.
 *
 * Goes by ids and reads one child at a time, so that the tree may change while it is walked.
 */
export function* entriesBelow(namespace: Namespace, id: number, origin: number): Iterable<Entry> {
  const open: { id: number; after: number }[] = [{ id, after: 0 }];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const child = firstChild(namespace, top);
    if (child) {
      top.after = child.id;
      if (!sourceFrom(child, origin)) continue;
      if (child.kind === "folder") open.push({ id: child.id, after: 0 });
      else yield child;
      continue;
    }
    open.pop();
    const entry = namespace.entry(top.id);
    if (entry && sourceFrom(entry, origin)) yield entry;
  }
}

/** What an origin has under the entry's name. */
export function sourceFrom(entry: Entry, origin: number): EntrySource | undefined {
  return entry.sources.find((source) => source.origin === origin);
}

function firstChild(namespace: Namespace, at: { id: number; after: number }): Entry | undefined {
  for (const child of namespace.children(at.id, at.after)) return child;
  return undefined;
}
