import assert from "node:assert/strict";
import { SpinningRead } from "../../src/fuse/spinning_read.ts";

const EAGAIN = -11;

/** Requests that each come after `empty()` reads that found nothing, or after a sleep. */
class Requests {
  reads = 0;
  #left: number;

  constructor(readonly empty: () => number) {
    this.#left = empty();
  }

  read(): number {
    this.reads += 1;
    this.#left -= 1;
    if (this.#left >= 0) return EAGAIN;
    this.#left = this.empty();
    return 64;
  }

  sleep(): void {
    this.#left = 0;
  }
}

/** Takes `count` requests as a session does; how often the thread slept. */
function sleeps(spin: SpinningRead, requests: Requests, count: number): number {
  let slept = 0;
  for (let taken = 0; taken < count; taken += 1) {
    if (spin.read(() => requests.read()) !== EAGAIN) continue;
    slept += 1;
    requests.sleep();
    requests.read();
  }
  return slept;
}

Deno.test("SpinningRead soon waits awake for one who reads block after block", () => {
  const spin = new SpinningRead(2);
  const requests = new Requests(() => 20);
  sleeps(spin, requests, 1_000);
  assert.equal(sleeps(spin, requests, 1_000), 0);
});

Deno.test("SpinningRead hardly tries where requests come in later than it may wait", () => {
  const spin = new SpinningRead(2);
  const requests = new Requests(() => 1_000);
  sleeps(spin, requests, 1_000);
  requests.reads = 0;
  assert.equal(sleeps(spin, requests, 1_000), 1_000);
  assert(requests.reads < 3 * 1_000, `${requests.reads} reads`);
});

Deno.test("SpinningRead leaves the core to readers when there are several", () => {
  const spin = new SpinningRead(2);
  let at = 0;
  const requests = new Requests(() => (at++ % 4 === 3 ? 20 : 0));
  sleeps(spin, requests, 1_000);
  assert.equal(sleeps(spin, requests, 1_000), 250);
});

Deno.test("SpinningRead never waits awake on a single core", () => {
  const spin = new SpinningRead(1);
  const requests = new Requests(() => 20);
  assert.equal(sleeps(spin, requests, 1_000), 1_000);
});
