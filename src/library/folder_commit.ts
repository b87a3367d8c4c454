import type { Clock } from "../base/clock.ts";
import { failpoint } from "../base/failpoint.ts";
import type { OriginEntry } from "../origins/origin.ts";
import type { ArrivalKind } from "./arrivals.ts";
import { COMMIT_CHANGES_MAX, type Committer } from "./committer.ts";
import { type FolderDelta, type Listing, nameOf } from "./delta_detector.ts";
import type { EntrySource } from "./entry.ts";
import { inOrder } from "./federation.ts";
import type { Moves } from "./moves.ts";
import type { Namespace } from "./namespace.ts";
import type { NamespaceEdit } from "./namespace_edit.ts";
import { nextTurn } from "./next_turn.ts";
import type { Removal } from "./removal.ts";
import type { YoungFiles } from "./young_files.ts";
import { Round } from "./round.ts";

/** What committing a listing needs of the library. */
export interface FolderCommitParts {
  /** Lower is preferred. */
  rankOf: (origin: number) => number;
  namespace: Namespace;
  committer: Committer;
  removal: Removal;
  moves: Moves;
  /** Told of each file that is new or changed. */
  young: YoungFiles;
  /** The scan under way at an origin; a folder that is listed meanwhile counts as its work. */
  scanOf: (origin: number) => number | undefined;
  clock: Clock;
}

/** A complete listing of one folder, and how it differs from what was known. */
export interface Listed {
  folder: number;
  origin: number;
  /** The folder itself, if the origin was asked. */
  self: OriginEntry | undefined;
  listing: Listing;
  delta: FolderDelta;
}

/** A listing that is being committed. */
interface Work {
  listed: Listed;
  places: Uint32Array;
  missing: readonly number[];
  /** The scan under way at the origin. */
  scan: number | undefined;
  isUrgent: () => boolean;
  round: Round | undefined;
}

/** What is committed at once of a listing, and what that brought. */
class Piece {
  readonly listed: Listed;
  readonly quiet: boolean;
  readonly scan: number | undefined;
  readonly round: Round | undefined;
  /** Entry ids of the folders. */
  readonly folders: number[] = [];
  /** Entry ids of the files that the round has yet to tell of. */
  readonly owed: number[] = [];

  constructor({ listed, quiet, scan, round }: Pick<Piece, "listed" | "quiet" | "scan" | "round">) {
    this.listed = listed;
    this.quiet = quiet;
    this.scan = scan;
    this.round = round;
  }

  /** Who tells of a new file. */
  get arrivalKind(): ArrivalKind {
    if (this.round) return this.round.hasRoom ? "round" : "told";
    return this.scan === undefined ? "told" : "scan";
  }
}

/** What a listing brought. */
export interface SyncOutcome {
  /** Entry ids of the folders that this origin has in this folder. */
  folders: number[];
  /** Whether a folder with something in it is now something else, which waits for the scan's end. */
  replaced: boolean;
  /** Names that came, and that are missing. */
  added: number;
  missing: number;
}

/** Brings the names in line with what an origin listed. */
export class FolderCommit {
  readonly #parts: FolderCommitParts;

  constructor(parts: FolderCommitParts) {
    this.#parts = parts;
  }

  /** Commits what differs, in pieces; the folder counts as listed with the last of them. */
  async apply(
    listed: Listed,
    { isUrgent, round }: { isUrgent: () => boolean; round?: Round | undefined },
  ): Promise<SyncOutcome> {
    const { places, missing } = this.#changes(listed);
    const scan = this.#parts.scanOf(listed.origin);
    failpoint("scan.after_listing");
    // Nobody settles what a listing by itself finds but the listing.
    const own = round === undefined && scan === undefined && missing.length > 0
      ? new Round(this.#parts, listed.origin)
      : undefined;
    const work = { listed, places, missing, scan, isUrgent, round: round ?? own };
    const folders = await this.#commit(work);
    await own?.settle();
    const replaced = missing.length > listed.delta.missing.length;
    if (replaced) round?.replacedIn.add(listed.folder);
    const added = listed.delta.added.length + listed.delta.replaced.length;
    return { folders, replaced, added, missing: missing.length };
  }

  /** Counts a folder, whose names are as they were, as work of the scan under way. */
  async leave(
    folder: number,
    origin: number,
    { files, folders }: { files: number; folders: number },
  ): Promise<void> {
    const { clock, committer, scanOf } = this.#parts;
    const scan = scanOf(origin);
    await committer.commit((edit) => {
      const entry = edit.namespace.entry(folder);
      const source = entry?.sources.find((source) => source.origin === origin);
      if (scan === undefined || !entry || source?.kind !== "folder") return;
      if (source.lastScan === scan) return;
      const state = edit.origin(origin);
      state.counts.files += files;
      state.counts.folders += folders;
      state.lastCommitMs = clock.now();
      source.lastScan = scan;
      edit.setSources(entry, entry.sources);
    }, { weight: 1, urgent: false });
  }

  /** Commits the places and what is missing; the ids of the folder's folders. */
  async #commit({ listed, places, missing, scan, isUrgent, round }: Work): Promise<number[]> {
    const { committer, removal } = this.#parts;
    const { folder, origin, delta } = listed;
    const quiet = this.#isFirst(folder);
    const folders = [...delta.folders];
    let start = 0;
    for (; places.length - start > COMMIT_CHANGES_MAX; start += COMMIT_CHANGES_MAX) {
      const slice = this.#slice(listed, places.subarray(start, start + COMMIT_CHANGES_MAX));
      await this.#clearWay(slice, listed);
      const piece = new Piece({ listed, quiet, scan, round });
      await committer.commit((edit) => {
        this.#upsertAll(edit, slice, piece);
      }, { weight: slice.length, urgent: isUrgent() });
      failpoint("scan.after_piece");
      for (const id of piece.folders) folders.push(id);
      round?.owe(piece.owed);
      await nextTurn();
    }
    const rest = this.#slice(listed, places.subarray(start));
    await this.#clearWay(rest, listed);
    const piece = new Piece({ listed, quiet, scan, round });
    // Beside a scan, listings end in bursts: a commit for each would cost more than they do.
    const isSoon = scan !== undefined && start === 0 && isUrgent();
    const done = committer.commit((edit) => {
      this.#upsertAll(edit, rest, piece);
      if (scan !== undefined && !round) removal.miss(edit, { origin, ids: missing, scan });
      // What is missing is judged later, as long as it stands there that only an index had it.
      const isSettled = missing.length === 0 || (scan !== undefined && !round);
      this.#markListed(edit, { listed, scan, isSettled });
    }, {
      weight: rest.length + missing.length + 1,
      urgent: !isSoon && (isUrgent() || start > 0),
    });
    if (isSoon) committer.flushSoon();
    await done;
    failpoint("scan.after_folder_commit");
    for (const id of piece.folders) folders.push(id);
    round?.owe(piece.owed);
    round?.miss(missing);
    return folders;
  }

  /** The places of the listing that are to be committed, and the ids of what is missing. */
  #changes({ listing, delta }: Listed): { places: Uint32Array; missing: number[] } {
    const missing = [...delta.missing];
    const others = [...delta.modified];
    for (const { id, place } of delta.replaced) {
      if (this.#mayReplace(id, listing.at(place))) others.push(place);
      else missing.push(id);
    }
    if (others.length === 0) return { places: delta.added, missing };
    const places = new Uint32Array(delta.added.length + others.length);
    places.set(delta.added);
    places.set(others, delta.added.length);
    return { places, missing };
  }

  #slice({ listing }: Listed, places: Uint32Array): OriginEntry[] {
    return Array.from(places, (place) => listing.at(place));
  }

  /** Whether nobody can have seen the folder's names yet, so that nobody need be told of them. */
  #isFirst(folder: number): boolean {
    const { namespace } = this.#parts;
    const entry = namespace.entry(folder);
    if (entry === undefined || entry.sources.some((source) => source.listed)) return false;
    return !namespace.hasChildren(folder);
  }

  /** A folder with something in it does not become something else before a scan agrees. */
  #mayReplace(id: number, entry: OriginEntry): boolean {
    const { namespace } = this.#parts;
    return entry.kind === "folder" || !namespace.hasChildren(id);
  }

  /** Empties folders of other origins that a file or link of this one is about to hide. */
  async #clearWay(changes: readonly OriginEntry[], { folder, origin }: Listed): Promise<void> {
    const { namespace, rankOf, removal } = this.#parts;
    for (const { path, kind } of changes) {
      if (kind === "folder") continue;
      const child = namespace.child(folder, nameOf(path));
      if (child?.kind !== "folder") continue;
      const [first] = child.sources;
      if (first && rankOf(first.origin) < rankOf(origin)) continue;
      for (const other of child.sources) {
        if (other.origin !== origin) await removal.empty(child.id, other.origin);
      }
    }
  }

  /** May be called more than once with the same piece. */
  #upsertAll(edit: NamespaceEdit, entries: readonly OriginEntry[], piece: Piece): void {
    piece.folders.length = piece.owed.length = 0;
    for (const entry of entries) this.#upsert(edit, entry, piece);
  }

  #upsert(edit: NamespaceEdit, listed: OriginEntry, piece: Piece): void {
    const { quiet, scan } = piece;
    const { folder, origin } = piece.listed;
    if (edit.namespace.entry(folder)?.kind !== "folder") return;
    const name = nameOf(listed.path);
    const old = edit.namespace.child(folder, name);
    const before = old?.sources.find((source) => source.origin === origin);
    const source = sourceOf(origin, listed, before);
    const isNew = listed.kind === "file" && before === undefined &&
      edit.origin(origin).wasScanned === true;
    let result: string;
    if (old) {
      edit.found(origin, old.id);
      const others = old.sources.filter((source) => source.origin !== origin);
      result = edit.setSources(old, inOrder([...others, source], this.#parts.rankOf));
      const now = isNew ? edit.namespace.child(folder, name) : undefined;
      if (now) edit.arrived(source, { id: now.id, kind: "shared", scan: edit.origin(origin).scan });
    } else {
      const kind = isNew ? piece.arrivalKind : "told";
      const owed = kind !== "told";
      const { id } = edit.insert(folder, name, { sources: [source], quiet, owed });
      if (isNew) edit.arrived(source, { id, kind, scan: edit.origin(origin).scan });
      if (kind === "round") piece.owed.push(id);
      result = "added";
    }
    this.#parts.young.note(origin, listed);
    if (listed.kind === "folder") {
      const now = edit.namespace.child(folder, name);
      if (now?.kind === "folder") piece.folders.push(now.id);
    }
    if (scan === undefined || piece.round) return;
    const { counts } = edit.origin(origin);
    if (listed.kind === "file" && result !== "same") {
      if (result === "changed" && old?.kind === "file") counts.changed += 1;
      else counts.added += 1;
    } else if (result === "changed" && old?.kind === "file") counts.gone += 1;
  }

  #markListed(
    edit: NamespaceEdit,
    { listed, scan, isSettled }: {
      listed: Listed;
      scan: number | undefined;
      isSettled: boolean;
    },
  ): void {
    const { folder, origin, self, listing } = listed;
    const entry = edit.namespace.entry(folder);
    const source = entry?.sources.find((source) => source.origin === origin);
    if (entry?.kind !== "folder" || source?.kind !== "folder") return;
    if (scan !== undefined && source.lastScan !== scan) {
      const state = edit.origin(origin);
      state.counts.files += listing.files;
      state.counts.folders += listing.folders;
      state.lastCommitMs = this.#parts.clock.now();
    }
    source.listed = true;
    source.lastScan = scan ?? source.lastScan;
    if (isSettled) delete source.isPublished;
    if (self?.kind === "folder") source.mtimeNs = self.mtimeNs;
    edit.setSources(entry, entry.sources);
  }
}

/** What an origin says of a name, as a source of its entry. */
export function sourceOf(
  origin: number,
  { kind, size, mtimeNs, version, target }: OriginEntry,
  before: EntrySource | undefined,
): EntrySource {
  const folder = kind === "folder" && before?.kind === "folder" ? before : undefined;
  return {
    origin,
    kind,
    size,
    mtimeNs,
    version,
    target,
    listed: folder?.listed ?? false,
    lastScan: folder?.lastScan ?? 0,
    ...(folder?.isPublished && { isPublished: true }),
  };
}
