import type { DaemonEvent } from "./daemon_events.ts";

/**
 * Most that waits for one client, as `weightOf` counts it: about 50,000 changed files, which clients
 * share. A scan finds 20,000 in the time in which a busy machine gets a few messages sent.
 */
export const QUEUE_WEIGHT_MAX = 16 * 1024 * 1024;

/** Most in one message, counted so; on the control socket an escaped character takes 6 bytes. */
const MESSAGE_WEIGHT_MAX = 1024 * 1024;
const MESSAGE_EVENTS_MAX = 4_000;

/** More than that is taken of what is rare and not a file: an origin that went down. */
const RESERVE_WEIGHT = 64 * 1024;

/** What an event takes besides its texts, in bytes; generous. */
const EVENT_WEIGHT = 128;

/**
 * What one client has yet to be sent. It never grows beyond its bound: what does not fit is counted,
 * and a `lost` event stands in its place.
 */
export class EventQueue {
  #events: DaemonEvent[] = [];
  #weight = 0;
  #lost = 0;
  /** Files are refused until half of the queue is free again: one gap, not thousands. */
  #isFull = false;
  #isClosed = false;
  #wake = Promise.withResolvers<void>();

  /** `now`: wall-clock ms, for `lost`. */
  constructor(readonly now: () => number) {}

  /** Whether nothing comes any more. What is queued can still be taken. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  push(event: DaemonEvent): void {
    if (this.#isClosed) return;
    const weight = weightOf(event);
    const isFile = "path" in event;
    const bound = QUEUE_WEIGHT_MAX + (isFile ? 0 : RESERVE_WEIGHT);
    this.#isFull ||= this.#weight + weight > QUEUE_WEIGHT_MAX;
    if (this.#weight + weight > bound || (isFile && this.#isFull)) this.#lost += 1;
    else {
      this.#tellLost();
      this.#add(event);
    }
    this.#wake.resolve();
  }

  /** The oldest events, as many as go into one message; none if there are none. */
  take(): DaemonEvent[] {
    let weight = 0;
    let count = 0;
    for (const event of this.#events) {
      weight += weightOf(event);
      count += 1;
      if (weight >= MESSAGE_WEIGHT_MAX || count >= MESSAGE_EVENTS_MAX) break;
    }
    const taken = this.#events.splice(0, count);
    this.#weight -= weight;
    if (this.#weight <= QUEUE_WEIGHT_MAX / 2) this.#isFull = false;
    if (this.#events.length === 0) this.#tellLost();
    if (this.#events.length === 0 && !this.#isClosed) this.#wake = Promise.withResolvers();
    return taken;
  }

  /** Resolves when there is something to take, or nothing comes any more. */
  filled(): Promise<void> {
    return this.#wake.promise;
  }

  close(): void {
    this.#isClosed = true;
    this.#wake.resolve();
  }

  #tellLost(): void {
    if (this.#lost === 0) return;
    this.#add({ event: "lost", time_ms: this.now(), count: this.#lost });
    this.#lost = 0;
  }

  #add(event: DaemonEvent): void {
    this.#events.push(event);
    this.#weight += weightOf(event);
  }
}

/** Two bytes a character: so much the longest of them take in memory. */
function weightOf(event: DaemonEvent): number {
  if (!("path" in event)) return 4 * EVENT_WEIGHT;
  return EVENT_WEIGHT + 2 * (event.path.length + ("from" in event ? event.from.length : 0));
}
