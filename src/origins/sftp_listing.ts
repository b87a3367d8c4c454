import { Buffer } from "node:buffer";
import type { FileEntryWithStats, Stats } from "ssh2";
import { MusicfsError } from "../base/errors.ts";
import type { EntryKind, OriginEntry } from "./origin.ts";
import { requestError, sftpError, STATUS_EOF, statusOf } from "./sftp_errors.ts";
import { asBuffer, closeHandle, theHandle } from "./sftp_handles.ts";
import { linkTarget } from "./sftp_links.ts";
import { realPath, type SftpPlace } from "./sftp_place.ts";
import type { SftpSession } from "./sftp_session.ts";
import { sizeTimeVersion } from "./size_time_version.ts";

const LIST = "sftp.list";
const STAT = "sftp.stat";

/**
 * READDIRs that are sent before the first is answered. OpenSSH answers each with up to 100 names
 * and one more with "no more": a small folder costs one round trip after it was opened.
 */
const READDIRS_AHEAD = 2;

/** READDIRs under way in a folder that turned out to be large. */
const READDIRS_AHEAD_MAX = 8;

/** Names of one folder, and answers without one: more is a server that never ends. */
const NAMES_MAX = 4_000_000;
const EMPTY_ANSWERS_MAX = 100;

const NAME_BYTES_MAX = 255;

const THROUGH_A_LINK = "it is reached through a link";

const S_IFMT = 0o170000;
const KINDS: Readonly<Record<number, EntryKind>> = {
  0o100000: "file",
  0o040000: "folder",
  0o120000: "symlink",
};

/** What ssh2 puts in the place of bytes that are not UTF-8. */
const REPLACEMENT = "\uFFFD";

/** One folder, and how many of its names were skipped because they are not UTF-8. */
export interface Listing {
  entries: OriginEntry[];
  notUtf8: number;
}

/**
 * Lists a folder in two round trips, and a third if there are links in it.
 *
 * Throws unless the server said that there is no more.
 */
export async function listFolder(
  session: SftpSession,
  folder: string,
  { place, signal, onProgress }: {
    place: SftpPlace;
    signal: AbortSignal;
    onProgress?: (() => void) | undefined;
  },
): Promise<Listing> {
  const full = place.full(folder, LIST);
  const describing = folder === "" ? lookAt(session, full) : lookAtLink(session, full);
  const resolving = Promise.all([realPath(session, full), place.realRoot(session)]);
  const opening = session.request<Uint8Array>((sftp, done) => sftp.opendir(full, done));
  const [status, resolved, opened] = await Promise.allSettled([
    describing,
    resolving,
    opening.then(theHandle),
  ]);
  onProgress?.();
  try {
    const reason = whyNoFolder(status);
    if (reason !== undefined) throw sftpError("invalid", folder, { op: LIST, reason });
    if (resolved.status === "rejected") throw resolved.reason;
    if (!await place.isAt(session, folder, resolved.value[0])) {
      throw sftpError("invalid", folder, { op: LIST, reason: THROUGH_A_LINK });
    }
    if (opened.status === "rejected") {
      throw await explained(session, opened.reason, { place, path: folder, op: LIST });
    }
    const reading = new NamesReading(session, asBuffer(opened.value), () => {
      signal.throwIfAborted();
      onProgress?.();
    });
    return await entriesOf(session, await reading.all(), { place, folder });
  } catch (error) {
    if (signal.aborted) throw error;
    throw requestError(error, { op: LIST, path: folder });
  } finally {
    if (opened.status === "fulfilled") closeHandle(session, opened.value);
  }
}

/** Says of one name what its folder's listing does. Throws `not_found` for what that skips. */
export async function statPath(
  session: SftpSession,
  path: string,
  { place }: { place: SftpPlace },
): Promise<OriginEntry> {
  const full = place.full(path, STAT);
  const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
  const looking = path === "" ? lookAt(session, full) : lookAtLink(session, full);
  const [status, real] = await Promise.allSettled([
    looking,
    realPath(session, place.full(folder, STAT)),
    place.realRoot(session),
  ]);
  if (real.status === "rejected") throw real.reason;
  if (status.status === "rejected") {
    throw await explained(session, status.reason, { place, path, op: STAT });
  }
  if (!await place.isAt(session, folder, real.value)) {
    throw sftpError("invalid", path, { op: STAT, reason: THROUGH_A_LINK });
  }
  const entry = await described(session, { path, status: status.value }, place);
  if (entry) return entry;
  throw sftpError("not_found", path, { op: STAT });
}

/** The error for a failed request: a missing name says something only while the root is well. */
export async function explained(
  session: SftpSession,
  error: unknown,
  { place, path, op }: { place: SftpPlace; path: string; op: string },
): Promise<MusicfsError> {
  const found = requestError(error, { op, path });
  if (found.code !== "not_found") return found;
  const reason = "the origin's folder is missing on the server; is its disk mounted?";
  if (path === "") return sftpError("unavailable", path, { op, reason, cause: error });
  try {
    const root = await lookAt(session, place.full("", op));
    return kindOf(root) === "folder" ? found : sftpError("unavailable", path, { op, reason });
  } catch (cause) {
    return sftpError("unavailable", path, { op, reason, cause });
  }
}

/** The names of one open folder, several READDIRs under way at once. */
class NamesReading {
  readonly #session: SftpSession;
  readonly #handle: Buffer;
  readonly #onAnswer: () => void;
  readonly #names = new Map<string, Stats>();
  #ahead = READDIRS_AHEAD;
  #running = 0;
  #isComplete = false;
  #emptyAnswers = 0;

  constructor(session: SftpSession, handle: Buffer, onAnswer: () => void) {
    this.#session = session;
    this.#handle = handle;
    this.#onAnswer = onAnswer;
  }

  /** All names, each once, with what the server said of them. */
  all(): Promise<Map<string, Stats>> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const more = (): void => {
        if (this.#isComplete && this.#running === 0) return resolve(this.#names);
        while (!isOver && !this.#isComplete && this.#running < this.#ahead) {
          this.#running += 1;
          this.#next().finally(() => this.#running -= 1).then(more, (error) => {
            isOver = true;
            reject(error);
          });
        }
      };
      more();
    });
  }

  async #next(): Promise<void> {
    try {
      const names = await this.#session.request<FileEntryWithStats[]>((sftp, done) =>
        sftp.readdir(this.#handle, done)
      );
      if (!Array.isArray(names)) throw new Error("The server answered READDIR without names");
      this.#take(names);
    } catch (error) {
      if (statusOf(error) !== STATUS_EOF) throw error;
      this.#isComplete = true;
    }
    this.#onAnswer();
  }

  #take(names: FileEntryWithStats[]): void {
    for (const { filename, attrs } of names) this.#names.set(filename, attrs);
    this.#emptyAnswers = names.length === 0 ? this.#emptyAnswers + 1 : 0;
    if (this.#names.size > NAMES_MAX || this.#emptyAnswers > EMPTY_ANSWERS_MAX) {
      throw new Error("The server's listing does not end");
    }
    if (!this.#isComplete) this.#ahead = Math.min(this.#ahead * 2, READDIRS_AHEAD_MAX);
  }
}

async function entriesOf(
  session: SftpSession,
  names: Map<string, Stats>,
  { place, folder }: { place: SftpPlace; folder: string },
): Promise<Listing> {
  const prefix = folder === "" ? "" : `${folder}/`;
  const entries: OriginEntry[] = [];
  const waiting: Promise<void>[] = [];
  let notUtf8 = 0;
  const later = async (path: string): Promise<void> => {
    // ssh2 decodes names: this may be a name of its own, or what it made of bytes that are none.
    const status = await existing(session, `${place.root}/${path}`);
    const entry = status && await described(session, { path, status }, place);
    if (entry) entries.push(entry);
    else if (!status && path.includes(REPLACEMENT)) notUtf8 += 1;
  };
  for (const [name, status] of names) {
    if (!isName(name)) continue;
    const path = prefix + name;
    const kind = kindOf(status);
    if (name.includes(REPLACEMENT) || !isWhole(status)) {
      waiting.push(later(path));
    } else if (kind === "symlink") {
      waiting.push(
        described(session, { path, status }, place).then((entry) => {
          if (entry) entries.push(entry);
        }),
      );
    } else if (kind !== undefined) {
      entries.push(plainEntry(path, kind, status));
    }
  }
  await Promise.all(waiting);
  return { entries, notUtf8 };
}

/** What is shown of a name; undefined if it is not shown. */
async function described(
  session: SftpSession,
  { path, status }: { path: string; status: Stats },
  place: SftpPlace,
): Promise<OriginEntry | undefined> {
  const kind = kindOf(status);
  if (kind === undefined) return undefined;
  if (kind !== "symlink") return plainEntry(path, kind, status);
  const target = await linkTarget(session, path, place);
  return target === undefined ? undefined : { ...plainEntry(path, kind, status), target };
}

function plainEntry(path: string, kind: EntryKind, { size, mtime }: Stats): OriginEntry {
  const mtimeNs = BigInt(mtime) * 1_000_000_000n;
  if (kind !== "file") return { path, kind, size: 0, mtimeNs, version: "", target: "" };
  return { path, kind, size, mtimeNs, version: sizeTimeVersion(size, mtimeNs), target: "" };
}

async function lookAtLink(session: SftpSession, full: string): Promise<Stats> {
  return wholeStatus(await session.request<Stats>((sftp, done) => sftp.lstat(full, done)));
}

async function lookAt(session: SftpSession, full: string): Promise<Stats> {
  return wholeStatus(await session.request<Stats>((sftp, done) => sftp.stat(full, done)));
}

/** What lies at a path; undefined if nothing does. */
async function existing(session: SftpSession, full: string): Promise<Stats | undefined> {
  try {
    return await lookAtLink(session, full);
  } catch (error) {
    if (requestError(error, { op: LIST, path: full }).code === "not_found") return undefined;
    throw error;
  }
}

function wholeStatus(status: Stats | undefined): Stats {
  if (status && isWhole(status)) return status;
  throw new Error("The server tells no kind, size and time of it");
}

/** Whether a server said all that is needed; each part of it may be missing. */
function isWhole({ mode, size, mtime }: Stats): boolean {
  return typeof mode === "number" && typeof mtime === "number" && Number.isSafeInteger(size);
}

function kindOf({ mode }: Stats): EntryKind | undefined {
  return KINDS[mode & S_IFMT];
}

/** Whether a name can be one: nothing that a server says is taken on trust. */
function isName(name: unknown): name is string {
  if (typeof name !== "string" || name === "" || name === "." || name === "..") return false;
  if (name.includes("/") || name.includes("\0")) return false;
  // A replaced byte counts three here.
  return name.includes(REPLACEMENT) || Buffer.byteLength(name) <= NAME_BYTES_MAX;
}

function whyNoFolder(status: PromiseSettledResult<Stats>): string | undefined {
  if (status.status === "rejected") return undefined;
  const kind = kindOf(status.value);
  if (kind === "folder") return undefined;
  return kind === "symlink" ? THROUGH_A_LINK : "it is not a folder";
}
