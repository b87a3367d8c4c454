import type { Client, SFTPWrapper } from "ssh2";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import { releaseCiphers } from "./sftp_ciphers.ts";
import { SftpHandles } from "./sftp_handles.ts";
import { widenWindow } from "./sftp_window.ts";

/**
 * Longest silence of a server that owes an answer, in ms: then the session is given up. More than
 * a disk needs that must first spin up (8 s), and no less than ssh's own keep-alive here (15 s).
 */
export const SILENT_MS_MAX = 20_000;

/** How often a session that has something to wait for looks at its watch, in ms. */
const TICK_MS = 1_000;

/** Bytes that come at least in a tick if an answer is on its way; keep-alives are less. */
const TICK_BYTES_MIN = 512;

/** Longest wait for the end of a connection that was asked to end, in ms. */
const END_MS_MAX = 500;

/** READs that a server of unknown make surely answers whole, in bytes. */
const READ_BYTES = 16 * 1024;

/** What a session is made of, as `connectSftp` leaves it. */
export interface SftpConnection {
  client: Client;
  sftp: SFTPWrapper;
  /** Bytes that came in so far, of whatever kind. */
  bytesRead: () => number;
}

/** One request: sends it, and has `done` called with its answer. */
export type Request<T> = (
  sftp: SFTPWrapper,
  done: (error: Error | null | undefined, answer?: T) => void,
) => void;

interface Pending {
  reject: (error: unknown) => void;
}

/**
 * One SSH connection with one SFTP channel, on which any number of requests is under way at once.
 *
 * The server answers in order. Every request ends: with its answer, or when the session does. ssh2
 * never calls back for what is asked after the end, so nothing is asked then.
 */
export class SftpSession {
  readonly handles: SftpHandles;
  readonly #connection: SftpConnection;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #pending = new Set<Pending>();
  readonly #ticking = new AbortController();
  readonly #closed: Promise<void>;
  #isTicking = false;
  #ended: MusicfsError | undefined;
  /** When the last answer, or a good part of one, came; and when anything did. */
  #answeredAt = 0;
  #heardAt = 0;
  #heardBytes = 0;
  #tickBytes = 0;

  constructor(connection: SftpConnection, options: { name: string; clock: Clock }) {
    this.#connection = connection;
    this.#name = options.name;
    this.#clock = options.clock;
    this.handles = new SftpHandles(this, options.clock);
    const { client, sftp } = connection;
    this.#closed = new Promise((resolve) => client.once("close", () => resolve()));
    const lost = (cause?: unknown): void => this.end("unavailable", "the connection broke", cause);
    client.on("error", lost).on("end", lost).on("close", lost);
    sftp.on("error", lost).on("end", lost).on("close", lost);
  }

  get isOver(): boolean {
    return this.#ended !== undefined;
  }

  /** Requests without an answer. */
  get load(): number {
    return this.#pending.size;
  }

  /**
   * How long the server has owed an answer and nothing at all has come from it, in ms. A server
   * whose disk must spin up still answers keep-alives; one that is out of reach does not.
   */
  get unheardMs(): number {
    if (this.#pending.size === 0) return 0;
    this.#listen();
    return this.#clock.monotonic() - this.#heardAt;
  }

  /** Longest READ that is answered by one message, in bytes. */
  get readBytesMax(): number {
    const max: unknown = Reflect.get(this.#connection.sftp, "_maxReadLen");
    return typeof max === "number" && max > 0 ? max : READ_BYTES;
  }

  /**
   * Sends a request now and resolves with its answer; undefined if the server gave one of another
   * kind than was asked for.
   *
   * Rejects with the server's status (`statusOf`) or, when the session ends, with `unavailable` or
   * `timed_out`.
   */
  request<T>(send: Request<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const pending: Pending = { reject };
      this.#pending.add(pending);
      if (this.#pending.size === 1) this.#startWatch();
      const done = (error: Error | null | undefined, answer?: T): void => {
        if (!this.#pending.delete(pending)) return;
        this.#answeredAt = this.#clock.monotonic();
        if (error) reject(error);
        else resolve(answer);
      };
      try {
        widenWindow(this.#connection.sftp);
        send(this.#connection.sftp, done);
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  /** Ends the session at once; all that is under way fails with this. */
  end(code: "unavailable" | "timed_out", reason: string, cause?: unknown): void {
    if (this.#ended) return;
    this.#ended = new MusicfsError(code, `Lost the session with ${this.#name}: ${reason}`, {
      op: "sftp.session",
      subject: this.#name,
      cause,
    });
    this.#ticking.abort();
    this.handles.forget();
    const pending = [...this.#pending];
    this.#pending.clear();
    for (const { reject } of pending) reject(this.#ended);
    this.#connection.client.destroy();
    releaseCiphers(this.#connection.client);
  }

  /** Says good-bye to the server and waits a moment for it to be heard. */
  async close(): Promise<void> {
    if (!this.#ended) this.#connection.client.end();
    const timer = new AbortController();
    const late = this.#clock.sleep(END_MS_MAX, timer.signal).catch(() => undefined);
    await Promise.race([this.#closed, late]);
    timer.abort();
    this.end("unavailable", "the origin was closed");
    this.#connection.client.destroy();
  }

  #startWatch(): void {
    this.#answeredAt = this.#heardAt = this.#clock.monotonic();
    this.#tickBytes = this.#heardBytes = this.#connection.bytesRead();
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.#tick().catch(() => {/* The session is over. */});
  }

  /** Looks at the watch for as long as there is something to wait for. */
  async #tick(): Promise<void> {
    while (!this.#ended && (this.#pending.size > 0 || this.handles.size > 0)) {
      await this.#clock.sleep(TICK_MS, this.#ticking.signal);
      this.handles.closeIdle();
      if (this.#pending.size === 0) continue;
      this.#listen();
      const now = this.#clock.monotonic();
      if (this.#heardBytes - this.#tickBytes >= TICK_BYTES_MIN) this.#answeredAt = now;
      this.#tickBytes = this.#heardBytes;
      if (now - this.#answeredAt < SILENT_MS_MAX) continue;
      this.end("timed_out", `the server has not answered for ${SILENT_MS_MAX / 1_000} s`);
    }
    this.#isTicking = false;
  }

  /** Takes note of what has come in by now. */
  #listen(): void {
    const bytes = this.#connection.bytesRead();
    if (bytes === this.#heardBytes) return;
    this.#heardBytes = bytes;
    this.#heardAt = this.#clock.monotonic();
  }
}
