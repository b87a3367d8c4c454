import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { libc } from "../base/posix.ts";
import { ERRNO } from "../fuse/errno.ts";
import type { Negotiated } from "../fuse/negotiation.ts";
import { errorReply } from "../fuse/reply.ts";
import type { SharedCounters } from "./shared_counters.ts";
import type { WorkerMessage, WorkerStart } from "./worker_messages.ts";

/** Workers that may die within `DEATHS_MS` before that is taken for a fault of the daemon. */
const DEATHS_MAX = 5;
const DEATHS_MS = 60_000;

/** Nonces there are, and from one worker of a daemon to the next: far from those of later daemons. */
const NONCES = 2 ** 20;
const NONCE_STEP = 2 ** 16 + 1;

/** Messages that are not about the session's own beginning and end. */
export type ServingMessage = Exclude<WorkerMessage, { type: "ready" | "initialized" | "ended" }>;

/** What a worker is run with. */
export interface ServingOptions {
  /** The first one, loaded ahead. */
  worker: Worker;
  start: WorkerStart;
  counters: SharedCounters;
  hear: (message: ServingMessage) => void;
  clock: Clock;
  log: Log;
}

/** Loads the worker's code, 100 ms of work, beside whatever else has to be done before a mount. */
export function loadFuseWorker(): Worker {
  return new Worker(new URL("./fuse_worker.ts", import.meta.url), { type: "module" });
}

/**
 * The thread that serves a mount, and the next one if it dies.
 *
 * The request that it died of is answered `EIO`; it is the only one that can be lost, for there is
 * one in its hands at a time.
 */
export class ServingWorker {
  /** What kernel and daemon agreed on; a mount that is taken over has agreed before. */
  readonly agreed: Promise<Negotiated>;
  /** The errno that ended the session: `ENODEV` after an unmount. Rejects if workers keep dying. */
  readonly ended: Promise<number>;
  readonly #options: ServingOptions;
  readonly #agreed = Promise.withResolvers<Negotiated>();
  readonly #ended = Promise.withResolvers<number>();
  /** Workers started so far. */
  #workers = 0;
  /** When workers died, ms of the monotonic clock. */
  #deaths: number[] = [];
  #isOver = false;
  /** How INIT ended, once it has: later workers go on with it. */
  #session: Negotiated | undefined;

  constructor(options: ServingOptions) {
    this.#options = options;
    this.#session = options.start.resumed;
    this.agreed = this.#agreed.promise;
    this.ended = this.#ended.promise;
    this.agreed.catch(() => undefined);
    this.ended.catch(() => undefined);
    this.#run(options.worker);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  #run(worker: Worker): void {
    worker.onmessage = (event: MessageEvent<WorkerMessage>): void => {
      const message = event.data;
      if (message.type === "ready") {
        if (this.#session) this.#agreed.resolve(this.#session);
      } else if (message.type === "initialized") {
        this.#session = message.agreed;
        this.#agreed.resolve(message.agreed);
      } else if (message.type === "ended") {
        this.#isOver = true;
        this.#agreed.reject(new Error(`The session ended before it began: errno ${message.errno}`));
        this.#ended.resolve(message.errno);
      } else this.#options.hear(message);
    };
    worker.onerror = (event): void => {
      event.preventDefault();
      this.#died(new Error(`The FUSE worker died: ${event.message}`));
    };
    const { start } = this.#options;
    const nonce = 1 + (start.nonce - 1 + this.#workers * NONCE_STEP) % NONCES;
    this.#workers += 1;
    worker.postMessage({ ...start, nonce, resumed: this.#session } satisfies WorkerStart);
  }

  #died(error: Error): void {
    const { clock, counters, log, start } = this.#options;
    const now = clock.monotonic();
    this.#deaths = [...this.#deaths.filter((death) => now - death < DEATHS_MS), now];
    if (!this.#session || this.#deaths.length > DEATHS_MAX) {
      this.#isOver = true;
      this.#agreed.reject(error);
      this.#ended.reject(error);
      return;
    }
    const [low = 0, high = 0] = counters.inHand;
    if (low !== 0 || high !== 0) {
      const reply = errorReply({ low, high }, ERRNO.EIO);
      libc.write(start.descriptor, reply, BigInt(reply.length));
      counters.inHand.fill(0);
    }
    log.error("The FUSE worker died and is replaced; its reader got EIO", { error });
    this.#run(loadFuseWorker());
  }
}
