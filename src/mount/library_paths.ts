/** Files and folders that were named by a person, in the tree and with all that lies below them. */

import { Limiter } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Entry } from "../library/entry.ts";
import { nextTurn } from "../library/next_turn.ts";
import { ROOT_ID } from "../library/node_id.ts";
import type { Cache } from "./cache.ts";
import type { TypedPath } from "./cache_commands.ts";

/** Entries of a folder that are held in memory at once. */
const PAGE_ENTRIES = 256;

/** Folders that are listed at once. */
const LISTINGS_MAX = 8;

/** Where names are looked up, and unlisted folders listed. */
export type NamedTree = Pick<Cache, "namespace" | "library">;

/**
 * The first of the candidates that is there; folders on the way that nobody has listed are listed.
 *
 * Throws `not_found` if none is, or why a folder on the way cannot be listed; and `invalid` for a
 * link, which has no bytes.
 */
export async function findTyped(
  tree: NamedTree,
  { typed, candidates }: TypedPath,
  signal: AbortSignal,
): Promise<{ entry: Entry; path: string }> {
  let failure: MusicfsError | undefined;
  for (const candidate of candidates) {
    const path = namesOf(candidate).join("/");
    try {
      const entry = await locate(tree, path, signal);
      if (entry?.kind === "symlink") throw isLink(typed, entry);
      if (entry) return { entry, path };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof MusicfsError) || error.code === "invalid") throw error;
      failure ??= error;
    }
  }
  if (failure && failure.code !== "not_found") throw failure;
  throw new MusicfsError(
    "not_found",
    `Cannot find "${typed}" in the library; name what lies below the mountpoint, ` +
      `or a path as "musicfs scan" prints it`,
    { op: "library.find", subject: typed, cause: failure },
  );
}

/** The names on a path, without those that mean nothing. */
export function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

/**
 * The files among `roots` and below them, a page at a time, in the order of ids. Memory is bounded
 * by the depth of the tree; what changes meanwhile may or may not be seen.
 *
 * Folders that nobody has listed are listed first if there is an `unlisted`, which is told of those
 * that cannot be; what is known of them is given all the same. Throws the signal's reason.
 */
export async function* filesBelow(
  tree: NamedTree,
  roots: Iterable<Entry>,
  { signal, unlisted }: {
    signal: AbortSignal;
    unlisted?: ((folder: Entry, error: MusicfsError) => void) | undefined;
  },
): AsyncGenerator<Entry[], void, void> {
  const { namespace } = tree;
  const list = async (entries: readonly Entry[]): Promise<void> => {
    if (unlisted) await listAll(tree, entries, { signal, unlisted });
  };
  for (const root of roots) {
    if (root.kind === "file") yield [root];
    if (root.kind !== "folder") continue;
    await list([root]);
    const open: { folder: number; after: number; pending: number[] }[] = [
      { folder: root.id, after: 0, pending: [] },
    ];
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      signal.throwIfAborted();
      const next = top.pending.shift();
      if (next !== undefined) {
        open.push({ folder: next, after: 0, pending: [] });
        continue;
      }
      const page = Iterator.from(namespace.children(top.folder, top.after)).take(PAGE_ENTRIES)
        .toArray();
      const last = page.at(-1);
      if (last === undefined) {
        open.pop();
        continue;
      }
      top.after = last.id;
      const folders = page.filter(({ kind }) => kind === "folder");
      top.pending = folders.map(({ id }) => id);
      await list(folders);
      const files = page.filter(({ kind }) => kind === "file");
      if (files.length > 0) yield files;
      await nextTurn();
    }
  }
}

async function listAll(
  { library }: NamedTree,
  entries: readonly Entry[],
  { signal, unlisted }: {
    signal: AbortSignal;
    unlisted: (folder: Entry, error: MusicfsError) => void;
  },
): Promise<void> {
  const limiter = new Limiter(LISTINGS_MAX);
  const folders = entries.filter(({ kind, listed }) => kind === "folder" && !listed);
  const listings = folders.map((folder) =>
    limiter.run(async () => {
      try {
        await library.ensureListed(folder.id, { signal });
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof MusicfsError)) throw error;
        unlisted(folder, error);
      }
    })
  );
  for (const result of await Promise.allSettled(listings)) {
    if (result.status === "rejected") throw result.reason;
  }
}

async function locate(
  { namespace, library }: NamedTree,
  path: string,
  signal: AbortSignal,
): Promise<Entry | undefined> {
  let entry = namespace.entry(ROOT_ID);
  for (const name of namesOf(path)) {
    if (entry?.kind !== "folder") return undefined;
    let child = namespace.child(entry.id, name);
    if (child === undefined && !entry.listed) {
      await library.ensureListed(entry.id, { signal });
      child = namespace.child(entry.id, name);
    }
    entry = child;
  }
  return entry;
}

function isLink(typed: string, { target }: Entry): MusicfsError {
  return new MusicfsError(
    "invalid",
    `Cannot use "${typed}": it is a link; name what it points to, "${target}"`,
    { op: "library.find", subject: typed },
  );
}
