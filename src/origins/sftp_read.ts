import type { Stats } from "ssh2";
import type { ByteRange } from "../base/bytes.ts";
import type { OriginFile } from "./origin.ts";
import { PartialRead } from "./partial_read.ts";
import { requestError, sftpError, statusOf } from "./sftp_errors.ts";
import { asBuffer } from "./sftp_handles.ts";
import type { SftpPlace } from "./sftp_place.ts";
import type { SftpSession } from "./sftp_session.ts";
import { sizeTimeVersion } from "./size_time_version.ts";

const OP = "sftp.read";

/** Bytes of one READ; see docs/performance.md. */
const PIECE_BYTES = 64 * 1024;

/** Bytes asked for and not yet answered, for one call: half of what an SSH window lets through. */
const AHEAD_BYTES_MAX = 4 * 1024 * 1024;

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

/** What a read needs beside the session. */
export interface ReadOptions {
  place: SftpPlace;
  signal: AbortSignal;
  onProgress?: (() => void) | undefined;
}

/**
 * Reads a range of a file's version: OPEN and REALPATH, unless the session has it open, then FSTAT,
 * all READs and FSTAT, each group sent together. What the last FSTAT says counts for all that was
 * read before it.
 *
 * A handle from an earlier read may show a file that was replaced since: it is opened anew, once,
 * before the file counts as changed.
 */
export async function readRange(
  session: SftpSession,
  { file, range }: { file: OriginFile; range: ByteRange },
  options: ReadOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const { place } = options;
  for (;;) {
    const open = session.handles.take(place.full(file.path, OP));
    const mayBeOld = open.wasUsed;
    // Asked together with the rest; `holds` below then knows it.
    const rootKnown = place.realRoot(session);
    rootKnown.catch(() => {/* The session is over, and the open failed too. */});
    try {
      const handle = asBuffer(await open.opening);
      if (!open.wasUsed && !await place.holds(session, await open.resolving)) {
        const reason = "a link on its way leaves the origin";
        throw sftpError("denied", file.path, { op: OP, reason });
      }
      options.signal.throwIfAborted();
      const read = new RangeRead(session, { handle, file, range, options });
      const bytes = await read.run();
      if (bytes) return bytes;
      session.handles.drop(open);
      if (!mayBeOld) throw sftpError("changed", file.path, { op: OP });
    } catch (error) {
      if (options.signal.aborted) throw error;
      session.handles.drop(open);
      throw requestError(error, { op: OP, path: file.path });
    } finally {
      session.handles.release(open);
    }
  }
}

/** One range on its way. */
class RangeRead {
  readonly #session: SftpSession;
  readonly #handle: ReturnType<typeof asBuffer>;
  readonly #file: OriginFile;
  readonly #range: ByteRange;
  readonly #options: ReadOptions;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #into: ReturnType<typeof asBuffer>;
  readonly #pieceBytes: number;
  /** Bytes that came of each piece, from its start on. */
  readonly #came: number[];
  #nextPiece = 0;
  /** Whether the version was right when the reads began. */
  #wasRight = false;
  /** What the server says of the file after the last READ that was sent. */
  #checking: Promise<boolean> | undefined;
  #askedOn = false;
  #ended = false;

  constructor(
    session: SftpSession,
    { handle, file, range, options }: {
      handle: ReturnType<typeof asBuffer>;
      file: OriginFile;
      range: ByteRange;
      options: ReadOptions;
    },
  ) {
    this.#session = session;
    this.#handle = handle;
    this.#file = file;
    this.#range = range;
    this.#options = options;
    this.#bytes = new Uint8Array(range.length);
    this.#into = asBuffer(this.#bytes);
    this.#pieceBytes = Math.min(PIECE_BYTES, session.readBytesMax);
    this.#came = new Array<number>(Math.ceil(range.length / this.#pieceBytes)).fill(0);
  }

  /** The bytes, all of the right version; undefined if the file has another one. */
  async run(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      // Bytes of a body that breaks off are only worth something if the version is known by then.
      if (this.#came.length > 1) {
        this.#isRight().then((right) => this.#wasRight = right, () => {/* So will the reads. */});
      }
      const ahead = Math.max(1, Math.floor(AHEAD_BYTES_MAX / this.#pieceBytes));
      const lanes = Array.from({ length: Math.min(ahead, this.#came.length) }, () => this.#lane());
      const reads = await Promise.allSettled(lanes);
      // A READ that was answered short was asked on after the server had said the version.
      const checking = this.#askedOn ? this.#isRight() : this.#checking ?? this.#isRight();
      const [after] = await Promise.allSettled([checking]);
      if (after.status === "fulfilled" && !after.value) return undefined;
      for (const read of reads) if (read.status === "rejected") throw read.reason;
      if (after.status === "rejected") throw after.reason;
      if (this.#received() === this.#range.length) return this.#bytes;
      // The file ended early, and is as long as it should be.
      throw sftpError("unavailable", this.#file.path, {
        op: OP,
        reason: "the server ended it before its end",
      });
    } catch (error) {
      throw this.#broken(error);
    } finally {
      this.#ended = true;
    }
  }

  /** Reads one piece after the other, until none is left. */
  async #lane(): Promise<void> {
    while (this.#nextPiece < this.#came.length) {
      this.#options.signal.throwIfAborted();
      const piece = this.#nextPiece;
      this.#nextPiece += 1;
      const reading = this.#readPiece(piece);
      if (this.#nextPiece === this.#came.length) {
        // The server comes to it after the READs, which are all sent by now.
        this.#checking = this.#isRight();
        this.#checking.catch(() => {/* Whoever awaits it is told. */});
      }
      await reading;
      if (this.#ended) return;
    }
  }

  /** Reads a piece, in several requests if the server answers short. */
  async #readPiece(piece: number): Promise<void> {
    const start = piece * this.#pieceBytes;
    const length = Math.min(this.#pieceBytes, this.#range.length - start);
    let done = 0;
    while (done < length) {
      const [at, rest] = [start + done, length - done];
      if (done > 0) this.#askedOn = true;
      const n = await this.#session.request<number>((sftp, answer) =>
        sftp.read(this.#handle, this.#into, at, rest, this.#range.offset + at, answer)
      ) ?? 0;
      if (n <= 0) {
        return;
      }
      if (this.#ended) {
        return;
      }
      done += n;
      this.#came[piece] = done;
      this.#options.onProgress?.();
    }
  }

  async #isRight(): Promise<boolean> {
    const status = await this.#session.request<Stats>((sftp, done) =>
      sftp.fstat(this.#handle, done)
    );
    if (status === undefined || (status.mode & S_IFMT) !== S_IFREG) return false;
    const { size, mtime } = status;
    return sizeTimeVersion(size, BigInt(mtime ?? 0) * 1_000_000_000n) === this.#file.version;
  }

  /** Bytes from the start on, without a gap. */
  #received(): number {
    let bytes = 0;
    for (const came of this.#came) {
      bytes += came;
      if (came < this.#pieceBytes) break;
    }
    return bytes;
  }

  #broken(error: unknown): unknown {
    const received = this.#received();
    const isLost = statusOf(error) === undefined && this.#session.isOver;
    if (!isLost || !this.#wasRight || received === 0 || received >= this.#range.length) {
      return error;
    }
    return new PartialRead(
      `Cannot read "${this.#file.path}": the connection broke after ${received} of ` +
        `${this.#range.length} bytes`,
      { received: this.#bytes.slice(0, received), op: OP, subject: this.#file.path, cause: error },
    );
  }
}
