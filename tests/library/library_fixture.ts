import assert from "node:assert/strict";
import type { Log } from "../../src/base/log.ts";
import { silentLog } from "../../src/base/log.ts";
import { type FolderChange, Library, type LibraryOptions } from "../../src/library/library.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import type { CallOptions, Origin, OriginEntry } from "../../src/origins/origin.ts";
import type { Entry } from "../../src/library/entry.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** A memory origin that can be down, hang, or lose single folders. */
export class MoodyOrigin extends MemoryOrigin {
  /** Thrown by every call while set. */
  down: Error | undefined;
  /** Thrown when this folder is listed. */
  readonly broken = new Map<string, Error>();
  /** Listings wait for this. */
  stuck: Promise<void> | undefined;
  /** Yielded in addition, as it is. */
  readonly extra = new Map<string, OriginEntry[]>();

  override async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    const failure = this.down ?? this.broken.get(folder);
    if (failure) throw failure;
    if (this.stuck) await this.stuck;
    yield* super.list(folder, options);
    yield* this.extra.get(folder) ?? [];
  }

  override stat(path: string, options: CallOptions): Promise<OriginEntry> {
    return this.down ? Promise.reject(this.down) : super.stat(path, options);
  }
}

/** A library over a memory index, and what it told of. */
export interface LibraryFixture {
  index: MemoryIndex;
  clock: VirtualClock;
  library: Library;
  changes: FolderChange[];
  warnings: string[];
}

export function openLibrary(
  origins: readonly Origin[],
  options: Partial<LibraryOptions> & { index?: MemoryIndex; clock?: VirtualClock } = {},
): LibraryFixture {
  const index = options.index ?? new MemoryIndex();
  const clock = options.clock ?? new VirtualClock();
  const changes: FolderChange[] = [];
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warning: (message) => warnings.push(message) };
  const library = new Library({
    exclude: [],
    log,
    onChange: (more) => changes.push(...more),
    ...options,
    index,
    clock,
    origins,
  });
  return { index, clock, library, changes, warnings };
}

export const bytes = (length: number): Uint8Array<ArrayBuffer> => new Uint8Array(length);

export function never(): { signal: AbortSignal } {
  return { signal: new AbortController().signal };
}

/** Every path of the tree, folders with a slash at their end, in order. */
export function treeOf(library: Library): string[] {
  const paths: string[] = [];
  const walk = (folder: number, prefix: string): void => {
    for (const entry of library.namespace.children(folder, 0)) {
      const isFolder = entry.kind === "folder";
      paths.push(`${prefix}${entry.name}${isFolder ? "/" : ""}`);
      if (isFolder) walk(entry.id, `${prefix}${entry.name}/`);
    }
  };
  walk(ROOT_ID, "");
  return paths.sort();
}

/** The entry at a path, which must be there. */
export function at(library: Library, path: string): Entry {
  const entry = library.namespace.find(path);
  if (!entry) throw new Error(`There is no ${path} in ${treeOf(library).join(", ")}`);
  return entry;
}

/** Checks that the tables agree with each other, and the counters with them. */
export function checkConsistency({ index, library }: LibraryFixture): void {
  const { namespace } = library;
  let [files, folders, size] = [0, 0, 0];
  const reached = new Set<number>([ROOT_ID]);
  const walk = (folder: number): void => {
    for (const entry of namespace.children(folder, 0)) {
      assert(!reached.has(entry.id), `entry ${entry.id} is in two folders`);
      reached.add(entry.id);
      assert.equal(entry.parent, folder);
      assert.equal(namespace.childId(folder, entry.name), entry.id);
      assert(entry.sources.length > 0);
      if (entry.kind === "folder") {
        folders += 1;
        walk(entry.id);
      }
      if (entry.kind === "file") {
        files += 1;
        size += entry.size;
        assert(entry.sequence > 0);
      }
    }
  };
  walk(ROOT_ID);
  assert.deepEqual(namespace.totals(), { files, folders, bytes: size });
  assert.equal(index.table("entries").count(), reached.size);
  assert.equal(index.table("children").count(), reached.size - 1);
  assert.equal(index.table("names").count(), reached.size - 1);
}
