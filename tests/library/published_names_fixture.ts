import type { Origin, OriginEntry } from "../../src/origins/origin.ts";
import type { PublishedFolder, PublishedNames } from "../../src/library/library.ts";
import { never } from "./library_fixture.ts";

/** The names of an origin as they are now, published as `PublishedIndex` gives them. */
export async function namesOf(origin: Origin): Promise<FakeNames> {
  const folders: PublishedFolder[] = [];
  const visit = async (path: string, mtimeNs: bigint): Promise<void> => {
    const entries: OriginEntry[] = [];
    for await (const entry of origin.list(path, never())) entries.push(entry);
    folders.push({ path, mtimeNs, entries });
    for (const entry of entries) {
      if (entry.kind === "folder") await visit(entry.path, entry.mtimeNs);
    }
  };
  await visit("", (await origin.stat("", never())).mtimeNs);
  return new FakeNames(folders);
}

/** Published names that a test made up. */
export class FakeNames implements PublishedNames {
  /** Folders that were given out. */
  given = 0;
  /** Thrown after so many folders. */
  failure: { after: number; error: Error } | undefined;

  constructor(readonly list: PublishedFolder[]) {}

  *folders(): Iterable<PublishedFolder> {
    for (const folder of this.list) {
      if (this.failure?.after === this.given) throw this.failure.error;
      this.given += 1;
      yield folder;
    }
  }
}

/** A file of an index. */
export function file(path: string, size = 1): OriginEntry {
  return { path, kind: "file", size, mtimeNs: 0n, version: `published-${size}`, target: "" };
}

/** A folder of an index. */
export function folder(path: string): OriginEntry {
  return { path, kind: "folder", size: 0, mtimeNs: 0n, version: "", target: "" };
}

/** A link of an index. */
export function link(path: string, target: string): OriginEntry {
  return { path, kind: "symlink", size: 0, mtimeNs: 0n, version: "", target };
}
