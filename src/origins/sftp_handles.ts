import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import { realPath } from "./sftp_place.ts";
import type { SftpSession } from "./sftp_session.ts";

/** Files that a session keeps open. A server of OpenSSH allows about 1,000. */
export const HANDLES_MAX = 32;

/** How long an unused file stays open, in ms. */
const IDLE_MS_MAX = 10_000;

/** A file that is open at the server. */
export interface OpenHandle {
  readonly path: string;
  readonly opening: Promise<Uint8Array>;
  /** Where the path really led when it was opened; undefined if the server does not tell. */
  readonly resolving: Promise<string | undefined>;
  /** Whether an earlier read already used it: it may show a file that was since replaced. */
  wasUsed: boolean;
  users: number;
  usedAt: number;
  dropped: boolean;
}

/** The files that one session has open, so that the next read needs one round trip, not two. */
export class SftpHandles {
  readonly #session: SftpSession;
  readonly #clock: Clock;
  /** By path, in the order of last use. */
  readonly #open = new Map<string, OpenHandle>();

  constructor(session: SftpSession, clock: Clock) {
    this.#session = session;
    this.#clock = clock;
  }

  get size(): number {
    return this.#open.size;
  }

  has(path: string): boolean {
    return this.#open.has(path);
  }

  /** The handle of the file at `path` on the server, opened if need be; `release` it afterwards. */
  take(path: string): OpenHandle {
    const found = this.#open.get(path);
    if (found) {
      this.#open.delete(path);
      this.#open.set(path, found);
      found.users += 1;
      return found;
    }
    const handle: OpenHandle = {
      path,
      opening: this.#session.request<Uint8Array>((sftp, done) => sftp.open(path, "r", done))
        .then(theHandle),
      resolving: realPath(this.#session, path),
      wasUsed: false,
      users: 1,
      usedAt: 0,
      dropped: false,
    };
    this.#open.set(path, handle);
    handle.opening.catch(() => this.#forget(handle));
    handle.resolving.catch(() => {/* The session is over, and the open failed too. */});
    return handle;
  }

  /** Begins to open a file that is likely to be read next; nobody is told if that fails. */
  openAhead(path: string): void {
    const handle = this.take(path);
    handle.opening.then(() => {
      this.release(handle);
      // What is opened now is as fresh as what `stat` says.
      handle.wasUsed = false;
    }, () => this.release(handle));
  }

  release(handle: OpenHandle): void {
    handle.users -= 1;
    handle.wasUsed = true;
    handle.usedAt = this.#clock.monotonic();
    if (handle.dropped) this.#closeUnused(handle);
    else this.#evict();
  }

  /** Nobody new gets this handle; its last user closes it. */
  drop(handle: OpenHandle): void {
    this.#forget(handle);
    if (handle.dropped) return;
    handle.dropped = true;
    this.#closeUnused(handle);
  }

  /** Closes what nobody used for a while. */
  closeIdle(): void {
    const since = this.#clock.monotonic() - IDLE_MS_MAX;
    for (const handle of this.#open.values()) {
      if (handle.users === 0 && handle.usedAt <= since) this.drop(handle);
    }
  }

  /** The session is over, and with it every handle. */
  forget(): void {
    this.#open.clear();
  }

  #evict(): void {
    for (const handle of this.#open.values()) {
      if (this.#open.size <= HANDLES_MAX) return;
      if (handle.users === 0) this.drop(handle);
    }
  }

  #forget(handle: OpenHandle): void {
    if (this.#open.get(handle.path) === handle) this.#open.delete(handle.path);
  }

  #closeUnused(handle: OpenHandle): void {
    if (handle.users > 0 || this.#session.isOver) return;
    handle.opening.then(
      (bytes) => closeHandle(this.#session, bytes),
      () => {/* It was never open. */},
    );
  }
}

/** Closes a handle of a file or folder; nobody waits for it. */
export function closeHandle(session: SftpSession, handle: Uint8Array): void {
  session.request((sftp, done) => sftp.close(asBuffer(handle), done)).catch(() => {
    // A session that ended has closed it.
  });
}

/** A handle as ssh2 wants it. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The handle that a server gave; throws if it gave none. */
export function theHandle(handle: Uint8Array | undefined): Uint8Array {
  if (handle && handle.length > 0) return handle;
  throw new Error("The server opened it and gave no handle");
}
