import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import type { SftpSession } from "./sftp_session.ts";

/** How long a refusal is remembered, in ms: servers ban who keeps knocking. */
const DENIED_MS = 5_000;

/**
 * Time without a word from a server that owes an answer, after which other sessions are asked
 * instead, in ms. Longer than the time between keep-alives, and far shorter than TCP's patience: a
 * network that came back answers a new connection long before it mends an old one.
 */
const SUSPECT_MS = 4_000;

/** Requests under way on the session that has a file open, above which another one opens it too. */
const LOAD_MAX = 16;

interface Waiter {
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** What a pool is made of. */
export interface PoolOptions {
  name: string;
  clock: Clock;
  sessionsMax: number;
  connect: (signal: AbortSignal) => Promise<SftpSession>;
}

/**
 * The sessions of one origin: one at the first call, more when calls meet.
 *
 * Whoever waits for a connection shares it and its failure; there is never more than one attempt
 * for each session that may be open.
 */
export class SftpPool implements AsyncDisposable {
  readonly #options: PoolOptions;
  readonly #sessions = new Set<SftpSession>();
  /** When each attempt that is under way began. */
  readonly #connecting = new Map<Promise<void>, number>();
  #waiters: Waiter[] = [];
  #denied: { error: unknown; until: number } | undefined;
  readonly #closing = new AbortController();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Open sessions. */
  get size(): number {
    return this.#sessions.size;
  }

  /**
   * Makes a call on a session: the one that has `path` open, else the one with the least to do.
   *
   * The call must send its first request before it waits for anything, so that the next one sees
   * that this session is busy. Throws what the connection that was waited for threw, what the call
   * throws, or the signal's reason as soon as that comes.
   */
  async use<T>(
    call: (session: SftpSession) => Promise<T>,
    { signal, path }: { signal: AbortSignal; path?: string | undefined },
  ): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#closing.signal.aborted) throw this.#closedError();
      const session = this.#pick(path);
      if (session) return await orAborted(call(session), signal);
      await orAborted(this.#wait(), signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#tell((waiter) => waiter.reject(this.#closedError()));
    const closing = [...this.#sessions].map((session) => session.close());
    await Promise.all([...closing, ...this.#connecting.keys()]);
  }

  #pick(path: string | undefined): SftpSession | undefined {
    let least: SftpSession | undefined;
    let opened: SftpSession | undefined;
    let well = 0;
    for (const session of this.#sessions) {
      if (session.isOver) {
        this.#sessions.delete(session);
      } else if (session.unheardMs < SUSPECT_MS) {
        well += 1;
        if (!least || session.load < least.load) least = session;
        if (path !== undefined && session.handles.has(path)) opened = session;
      }
    }
    const picked = opened && opened.load < LOAD_MAX ? opened : least;
    // Each that is there may bring one more, so that none is opened before one was let in.
    const isBusy = least !== undefined && least.load > 0;
    if (isBusy && this.#connecting.size < well && this.#mayConnect()) this.#connect();
    return picked;
  }

  /** Resolves when there may be a session to pick. */
  #wait(): Promise<void> {
    if (this.#denied && this.#options.clock.monotonic() < this.#denied.until) {
      return Promise.reject(this.#denied.error);
    }
    const youngest = Math.max(-Infinity, ...this.#connecting.values());
    if (this.#options.clock.monotonic() - youngest > SUSPECT_MS) {
      if (!this.#mayConnect()) this.#giveUpOne();
      if (this.#mayConnect()) this.#connect();
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  #mayConnect(): boolean {
    return this.#sessions.size + this.#connecting.size < this.#options.sessionsMax;
  }

  /** Makes room for a new session in the place of the one that was silent for longest. */
  #giveUpOne(): void {
    let worst: SftpSession | undefined;
    for (const session of this.#sessions) {
      if (!worst || session.unheardMs > worst.unheardMs) worst = session;
    }
    if (!worst) return;
    worst.end("timed_out", "the server did not answer, and a new session takes its place");
    this.#sessions.delete(worst);
  }

  #connect(): void {
    const attempt = this.#attempt().finally(() => {
      this.#connecting.delete(attempt);
      // Nobody else will tell those who wait.
      if (this.#connecting.size === 0) this.#tell((waiter) => waiter.resolve());
    });
    this.#connecting.set(attempt, this.#options.clock.monotonic());
  }

  async #attempt(): Promise<void> {
    try {
      const session = await this.#options.connect(this.#closing.signal);
      if (this.#closing.signal.aborted) return await session.close();
      this.#denied = undefined;
      this.#sessions.add(session);
      this.#tell((waiter) => waiter.resolve());
    } catch (error) {
      const isDenied = error instanceof MusicfsError && error.code === "denied";
      const until = this.#options.clock.monotonic() + DENIED_MS;
      if (isDenied) this.#denied = { error, until };
      if (isDenied || this.#connecting.size <= 1) this.#tell((waiter) => waiter.reject(error));
    }
  }

  #tell(what: (waiter: Waiter) => void): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) what(waiter);
  }

  #closedError(): MusicfsError {
    const { name } = this.#options;
    return new MusicfsError("unavailable", `Cannot read origin "${name}": it is closed`, {
      op: "sftp.session",
      subject: name,
    });
  }
}
