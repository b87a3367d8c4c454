import {
  cString,
  libc,
  O_CREAT,
  O_RDWR,
  O_TRUNC,
  openFile,
  preadFully,
  pwriteFully,
  statDescriptor,
} from "../base/posix.ts";
import type { HandleLedger, OpenNote } from "../fuse/open_files.ts";
import { readU64, writeU64 } from "../fuse/protocol.ts";

/** Name of the file in the cache folder. */
export const LEDGER_FILE = "session.handles";

/**
 * One record, little-endian: node u64, request u64, backing id u32, handles u32, nothing u32, check
 * u32. All zero, or without handles: free. The first record is the header: magic u64, flags u32,
 * nothing, check u32.
 */
const RECORD_BYTES = 32;
const CHECK_AT = RECORD_BYTES - 4;

const MAGIC = new TextEncoder().encode("MFSHAND1");

/** Header flag: every open node is in here. */
const WHOLE = 1;

/** Zeros written at a time: what was given its place on the disk can be written when that is full. */
const GROWTH_BYTES = 64 * 1024;

/** A killed daemon leaves whole pages of what it wrote. */
const PAGE_BYTES = 4096;

/** Longer than any ledger (2 million open files): damaged, and not read. */
const BYTES_MAX = 64 * 1024 * 1024;

/**
 * Which nodes are open, how and how often, in a file that outlives the daemon: a successor must
 * open a node as it is open already, and with the same backing id, or the kernel answers `EIO`.
 *
 * Each record lies within a page and is written with one `pwrite`, so a killed daemon leaves it old
 * or new. It is of no use after a reboot, so it is never synced; what is damaged is left alone.
 */
export class HandleLedgerFile implements HandleLedger, Disposable {
  readonly inherited: readonly OpenNote[];
  readonly isWhole: boolean;
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  readonly #record = new Uint8Array(RECORD_BYTES);
  readonly #view = new DataView(this.#record.buffer);
  #next = 1;
  #allocatedBytes: number;

  /** Takes over what `bytes`, all of the file, say. */
  private constructor(readonly descriptor: number, bytes: Uint8Array<ArrayBuffer>) {
    const inherited: OpenNote[] = [];
    let isWhole = bytes.length >= GROWTH_BYTES && bytes.length % PAGE_BYTES === 0 &&
      isHeader(bytes) && (new DataView(bytes.buffer).getUint32(8, true) & WHOLE) !== 0;
    const records = Math.floor(bytes.length / RECORD_BYTES);
    for (let slot = 1; slot < records; slot += 1) {
      const record = bytes.subarray(slot * RECORD_BYTES, (slot + 1) * RECORD_BYTES);
      if (record.every((byte) => byte === 0)) {
        this.#free.push(slot);
        continue;
      }
      const note = isSound(record) ? decode(record) : undefined;
      if (!note || note.node === 0 || this.#slots.has(note.node)) {
        isWhole = false;
        continue;
      }
      inherited.push(note);
      if (note.handles > 0) this.#slots.set(note.node, slot);
      else this.#free.push(slot);
    }
    this.#free.reverse();
    this.#next = Math.max(1, records);
    this.#allocatedBytes = records * RECORD_BYTES;
    this.inherited = inherited;
    this.isWhole = isWhole;
  }

  /**
   * Begins an empty ledger for a fresh mount, whose kernel side knows no handles, or goes on with a
   * predecessor's.
   *
   * @returns undefined if none is needed, or none can be kept: then nothing of it is left behind
   */
  static open(
    path: string,
    { resumed, isNeeded }: { resumed: boolean; isNeeded: boolean },
  ): HandleLedgerFile | undefined {
    if (resumed) {
      const kept = readAll(path);
      if (kept || !isNeeded) return kept && HandleLedgerFile.#goOn(kept);
    }
    return isNeeded ? HandleLedgerFile.#begin(path, { isWhole: !resumed }) : forget(path);
  }

  static #begin(path: string, { isWhole }: { isWhole: boolean }): HandleLedgerFile | undefined {
    const descriptor = openFile(path, O_RDWR | O_CREAT | O_TRUNC);
    if (descriptor < 0) return forget(path);
    const bytes = new Uint8Array(GROWTH_BYTES);
    bytes.set(headerOf(isWhole ? WHOLE : 0));
    if (pwriteFully(descriptor, bytes, 0) === bytes.length) {
      return new HandleLedgerFile(descriptor, bytes);
    }
    libc.close(descriptor);
    return forget(path);
  }

  static #goOn({ descriptor, bytes }: Kept): HandleLedgerFile {
    const ledger = new HandleLedgerFile(descriptor, bytes);
    // Damage to the header is not forgotten when it is written anew.
    if (!ledger.isWhole) pwriteFully(descriptor, headerOf(0), 0);
    return ledger;
  }

  put(note: OpenNote): boolean {
    const known = this.#slots.get(note.node);
    const slot = known ?? this.#take();
    if (slot === undefined) return this.#distrust();
    writeU64(this.#view, 0, note.node);
    writeU64(this.#view, 8, note.request);
    this.#view.setUint32(16, note.backingId, true);
    this.#view.setUint32(20, note.handles, true);
    this.#view.setUint32(CHECK_AT, checkOf(this.#record), true);
    const at = slot * RECORD_BYTES;
    const isWritten = pwriteFully(this.descriptor, this.#record, at) === RECORD_BYTES;
    const isFree = isWritten ? note.handles === 0 : known === undefined;
    if (isFree) {
      this.#slots.delete(note.node);
      this.#free.push(slot);
    } else this.#slots.set(note.node, slot);
    return isWritten || this.#distrust();
  }

  [Symbol.dispose](): void {
    libc.close(this.descriptor);
  }

  /** A successor is not to take it that all open nodes are in here. */
  #distrust(): false {
    pwriteFully(this.descriptor, headerOf(0), 0);
    return false;
  }

  /** A free place; undefined if the disk has none. */
  #take(): number | undefined {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if ((this.#next + 1) * RECORD_BYTES > this.#allocatedBytes) {
      const at = this.#next * RECORD_BYTES;
      const zeros = new Uint8Array(GROWTH_BYTES);
      if (pwriteFully(this.descriptor, zeros, at) !== zeros.length) return undefined;
      this.#allocatedBytes = at + GROWTH_BYTES;
    }
    this.#next += 1;
    return this.#next - 1;
  }
}

interface Kept {
  descriptor: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/** The file that a predecessor left, open; undefined if there is none that can be read. */
function readAll(path: string): Kept | undefined {
  const descriptor = openFile(path, O_RDWR);
  if (descriptor < 0) return undefined;
  const status = statDescriptor(descriptor);
  const size = typeof status === "number" ? Infinity : status.size;
  if (size <= BYTES_MAX) {
    const bytes = new Uint8Array(size);
    if (preadFully(descriptor, bytes, 0) === size) return { descriptor, bytes };
  }
  libc.close(descriptor);
  return undefined;
}

function forget(path: string): undefined {
  libc.unlink(cString(path));
  return undefined;
}

function headerOf(flags: number): Uint8Array<ArrayBuffer> {
  const record = new Uint8Array(RECORD_BYTES);
  record.set(MAGIC);
  const view = new DataView(record.buffer);
  view.setUint32(8, flags, true);
  view.setUint32(CHECK_AT, checkOf(record), true);
  return record;
}

function isHeader(bytes: Uint8Array<ArrayBuffer>): boolean {
  return bytes.length >= RECORD_BYTES && isSound(bytes.subarray(0, RECORD_BYTES)) &&
    MAGIC.every((byte, i) => bytes[i] === byte);
}

function decode(record: Uint8Array<ArrayBuffer>): OpenNote {
  const view = new DataView(record.buffer, record.byteOffset);
  return {
    node: readU64(view, 0),
    request: readU64(view, 8),
    backingId: view.getUint32(16, true),
    handles: view.getUint32(20, true),
  };
}

function isSound(record: Uint8Array<ArrayBuffer>): boolean {
  const view = new DataView(record.buffer, record.byteOffset);
  return view.getUint32(CHECK_AT, true) === checkOf(record);
}

/** FNV-1a of all but the check itself; never 0 for zeros. */
function checkOf(record: Uint8Array<ArrayBuffer>): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < CHECK_AT; i += 1) hash = Math.imul(hash ^ (record[i] ?? 0), 0x01000193);
  return hash >>> 0;
}
