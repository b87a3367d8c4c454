import fc from "fast-check";
import assert from "node:assert/strict";
import { type FilesAfter, ScanAhead } from "../../src/reader/scan_ahead.ts";
import { KiB, MiB } from "./rig.ts";

const HEAD = { offset: 0, length: 64 * KiB };

/** Files 1, 2, 3, … by name, and as they are listed: in no order that one could guess. */
function ordersOf(count: number): { name: number[]; listed: number[] } {
  const name = Array.from({ length: count }, (_, i) => i + 1);
  return { name, listed: name.toSorted((a, b) => (a * 7919) % 1009 - (b * 7919) % 1009) };
}

function filesOf(count: number): FilesAfter {
  const orders = ordersOf(count);
  return (id, { order, count }) => {
    const place = orders[order].indexOf(id);
    return place < 0 ? [] : orders[order].slice(place + 1, place + 1 + count);
  };
}

/** What was fetched ahead, and how much of it came to use. */
class Scanner {
  scan: ScanAhead;
  readonly fetched: number[] = [];
  readonly here = new Set<number>();
  nowMs = 10_000;
  hits = 0;

  constructor(count = 1_000) {
    this.scan = new ScanAhead(filesOf(count));
  }

  /** Opens a file and reads its head. */
  read(id: number, { stepMs = 10, head = HEAD } = {}): void {
    this.nowMs += stepMs;
    this.scan.opened(id, this.nowMs);
    this.pump();
    if (this.fetched.includes(id)) this.hits += 1;
    else if (!this.here.has(id)) this.scan.headRead(id, head, this.nowMs);
    this.scan.read(id, head);
    this.here.add(id);
    this.pump();
  }

  readAll(ids: readonly number[]): void {
    for (const id of ids) this.read(id);
  }

  pump(): void {
    for (;;) {
      const id = this.scan.next((id) => this.here.has(id));
      if (id === undefined) return;
      assert(!this.fetched.includes(id), `${id} was fetched twice`);
      this.fetched.push(id);
      this.here.add(id);
    }
  }

  get wasted(): number {
    return this.fetched.length - this.hits;
  }
}

function range(start: number, end: number, step = 1): number[] {
  const found: number[] = [];
  for (let id = start; id < end; id += step) found.push(id);
  return found;
}

Deno.test("ScanAhead begins with the fourth file in order, and is ahead of all after it", () => {
  const scanner = new Scanner();
  scanner.readAll(range(1, 4));
  assert.deepEqual(scanner.fetched, []);
  scanner.readAll(range(4, 201));
  assert.equal(scanner.hits, 196);
  assert.deepEqual(scanner.fetched.slice(0, 3), [5, 6, 7]);
  assert.deepEqual(scanner.fetched, range(5, 207));
});

Deno.test("ScanAhead finds out that files come as they are listed", () => {
  const scanner = new Scanner(200);
  scanner.readAll(ordersOf(200).listed);
  assert.equal(scanner.hits, 196);
  assert.equal(scanner.wasted, 0);
});

Deno.test("ScanAhead changes the order when that is how files go on", () => {
  const scanner = new Scanner(400);
  const { listed } = ordersOf(400);
  scanner.readAll([...range(1, 100), ...listed.filter((id) => id > 100)]);
  assert(scanner.hits >= 300, `${scanner.hits}`);
  assert(scanner.wasted <= 16, `${scanner.wasted}`);
  const loose = new Scanner(200);
  // What is every second file by name may be every one as they are listed.
  const next: FilesAfter = (id, { order, count }) => {
    const step = order === "name" ? 1 : 2;
    return range(id + step, id + step + count * step, step).filter((id) => id <= 400);
  };
  loose.scan = new ScanAhead(next);
  loose.readAll(range(1, 400, 2));
  assert.equal(loose.hits, 196);
  assert.equal(loose.wasted, 0);
});

Deno.test("ScanAhead keeps up with threads, in whatever order they come", () => {
  fc.assert(fc.property(fc.array(fc.nat(3), { maxLength: 300 }), (swaps) => {
    const scanner = new Scanner();
    const ids = range(1, swaps.length + 1);
    // Each thread may be overtaken by the others.
    for (const [i, by] of swaps.entries()) {
      const j = Math.min(ids.length - 1, i + by);
      [ids[i], ids[j]] = [ids[j] ?? 0, ids[i] ?? 0];
    }
    scanner.readAll(ids);
    assert(scanner.wasted <= 8, `${scanner.wasted} of ${ids.length}`);
  }));
});

Deno.test("ScanAhead keeps up with four threads that overtake each other all the time", () => {
  const scanner = new Scanner();
  for (let i = 1; i < 401; i += 4) scanner.readAll([i + 1, i, i + 3, i + 2]);
  assert(scanner.hits >= 390, `${scanner.hits}`);
});

Deno.test("ScanAhead fetches no more than a few files that nobody reads, whatever is read", () => {
  const ids = fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 400 });
  fc.assert(fc.property(ids, (ids) => {
    const scanner = new Scanner(300);
    scanner.readAll(ids);
    assert(scanner.wasted <= 6 + ids.length / 20, `${scanner.wasted} after ${ids.length}`);
  }));
  const scanner = new Scanner();
  scanner.readAll(range(1, 801, 5));
  assert.equal(scanner.fetched.length, 0);
});

Deno.test("ScanAhead gives up a scan that leaves out every second file", () => {
  const scanner = new Scanner();
  scanner.readAll([...range(1, 100), ...range(100, 900, 2)]);
  assert(scanner.wasted <= 10, `${scanner.wasted}`);
  const mixed = new Scanner();
  mixed.readAll(range(1, 900).filter((id) => (id * 31) % 101 < 50));
  assert(mixed.wasted <= 40, `${mixed.wasted}`);
});

Deno.test("ScanAhead is not begun by who goes backwards, pauses, or reads on", () => {
  const backwards = new Scanner();
  backwards.readAll(range(1, 100).reverse());
  assert.deepEqual(backwards.fetched, []);
  const slow = new Scanner();
  for (const id of range(1, 50)) slow.read(id, { stepMs: 2_001 });
  assert.deepEqual(slow.fetched, []);
  const whole = new Scanner();
  for (const id of range(1, 50)) {
    whole.read(id);
    for (let offset = 0; offset < 2 * MiB; offset += 256 * KiB) {
      whole.scan.passed(id, { offset, length: 256 * KiB });
    }
  }
  assert.deepEqual(whole.fetched, []);
});

Deno.test("ScanAhead ends at once when its files are read on, and after a pause", () => {
  const scanner = new Scanner();
  scanner.readAll(range(1, 20));
  const { length } = scanner.fetched;
  scanner.scan.passed(19, { offset: 64 * KiB, length: 1 * MiB });
  scanner.pump();
  scanner.read(20);
  assert.equal(scanner.fetched.length, length);
  const paused = new Scanner();
  paused.readAll(range(1, 20));
  const before = paused.fetched.length;
  paused.read(20, { stepMs: 2_001 });
  assert.equal(paused.fetched.length, before);
});

Deno.test("ScanAhead is not ended by a player beside it", () => {
  const scanner = new Scanner();
  scanner.readAll(range(1, 20));
  scanner.read(500);
  scanner.scan.passed(500, { offset: 0, length: 2 * MiB });
  scanner.readAll(range(20, 100));
  assert.equal(scanner.hits, 95);
});

Deno.test("ScanAhead is ended by files out of order", () => {
  const scanner = new Scanner();
  scanner.readAll(range(1, 20));
  const { length } = scanner.fetched;
  scanner.readAll([500, 700, 900, 20]);
  assert.equal(scanner.fetched.length, length);
});

Deno.test("ScanAhead goes on behind files that are here, and fetches none of them", () => {
  const scanner = new Scanner();
  for (const id of range(50, 150)) scanner.here.add(id);
  scanner.readAll(range(1, 200));
  assert(scanner.fetched.every((id) => id < 50 || id >= 150));
  assert.equal(scanner.hits, 45 + 50);
});

Deno.test("ScanAhead fetches as much of a head as most were asked for, without what the kernel adds", () => {
  const scanner = new Scanner();
  for (const id of range(1, 5)) {
    scanner.read(id);
    scanner.scan.read(id, { offset: 64 * KiB, length: 64 * KiB });
  }
  assert.equal(scanner.scan.headBytes, 64 * KiB);
  const longer = new Scanner();
  for (const id of range(1, 9)) {
    longer.read(id);
    if (id % 4 !== 0) {
      longer.scan.read(id, { offset: 64 * KiB, length: 64 * KiB });
      longer.scan.read(id, { offset: 128 * KiB, length: 64 * KiB });
    }
  }
  assert.equal(longer.scan.headBytes, 128 * KiB);
});

Deno.test("ScanAhead learns from what is asked for beyond a head that was fetched ahead", () => {
  const scanner = new Scanner();
  scanner.readAll(range(1, 5));
  for (const id of range(5, 20)) {
    scanner.read(id);
    scanner.scan.read(id, { offset: 64 * KiB, length: 100 * KiB });
  }
  assert.equal(scanner.scan.headBytes, 176 * KiB);
  scanner.read(20);
  scanner.scan.read(20, { offset: 64 * KiB, length: 900 * KiB });
  assert.equal(scanner.scan.headBytes, 176 * KiB);
});
