import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { CacheIndex, type ItemKind } from "../../src/store/cache_index.ts";
import { PROMOTE_AFTER_S, SEGMENT, USE_GRANULARITY_S } from "../../src/store/lru_eviction.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const VERSION = 2 ** 20;

const id = (n: number): Uint8Array => new Uint8Array(16).fill(n);

function open(): { index: MemoryIndex; clock: VirtualClock; cache: CacheIndex } {
  const index = new MemoryIndex();
  const clock = new VirtualClock();
  return { index, clock, cache: new CacheIndex(index, clock) };
}

function add(cache: CacheIndex, n: number, { kind = "chunk", diskBytes = 4096, owner = 0 }: {
  kind?: ItemKind;
  diskBytes?: number;
  owner?: number;
} = {}): void {
  cache.record({ kind, id: id(n), diskBytes, owner });
}

const order = (cache: CacheIndex): number[] =>
  Array.from(cache.oldest(), (item) => item.id[0] ?? -1);

Deno.test("CacheIndex.oldest() goes by last use, then by track", async () => {
  const { cache, clock } = open();
  add(cache, 5, { owner: 20 * VERSION + 1 });
  add(cache, 1, { owner: 30 * VERSION + 1 });
  add(cache, 7, { owner: 20 * VERSION + 2 });
  add(cache, 2, { owner: 30 * VERSION + 1 });
  await clock.advance(1000);
  add(cache, 0);
  add(cache, 9, { owner: 10 * VERSION });
  assert.deepEqual(order(cache), [5, 7, 1, 2, 9, 0]);
});

Deno.test("CacheIndex.oldest() keeps the order of arrival within one second", () => {
  const { cache } = open();
  const names = Array.from({ length: 60 }, (_, i) => 255 - i);
  for (const n of names) add(cache, n, { diskBytes: 3 * 1024 * 1024, owner: n * VERSION });
  assert.deepEqual(order(cache), names);
});

Deno.test("CacheIndex goes on from the newest use after a restart with the clock set back", () => {
  const { index, cache } = open();
  add(cache, 1);
  cache.flush();
  const again = new CacheIndex(index, new VirtualClock(1_600_000_000_000));
  add(again, 0);
  assert.deepEqual(order(again), [0, 1]);
  assert.equal(again.find("chunk", id(0))?.lastUse, 1_700_000_000);
});

Deno.test("CacheIndex.use() moves an item to the end of its segment", async () => {
  const { cache, clock } = open();
  for (const n of [1, 2, 3]) add(cache, n);
  await clock.advance(USE_GRANULARITY_S * 1000);
  cache.use("chunk", id(1));
  assert.deepEqual(order(cache), [2, 3, 1]);
});

Deno.test("CacheIndex.use() protects what is used again after a while", async () => {
  const { cache, clock } = open();
  add(cache, 1);
  cache.flush();
  await clock.advance(PROMOTE_AFTER_S * 1000);
  cache.use("chunk", id(1));
  add(cache, 2);
  assert.equal(cache.find("chunk", id(1))?.segment, SEGMENT.protected);
  assert.deepEqual(order(cache), [2, 1]);
  assert.equal(cache.totals().protectedDiskBytes, 4096);
});

Deno.test("CacheIndex.use() and record() write nothing before the next commit", async () => {
  const { index, cache, clock } = open();
  for (let n = 0; n < 100; n += 1) {
    add(cache, n);
    await clock.advance(100_000);
    cache.use("chunk", id(n));
  }
  assert.equal(index.generation(), 0);
  cache.flush();
  assert.equal(index.generation(), 1);
  assert.equal(cache.totals().chunks, 100);
});

Deno.test("CacheIndex.use() of what is not in the cache changes nothing", () => {
  const { cache } = open();
  cache.use("chunk", id(1));
  cache.flush();
  assert.equal(cache.find("chunk", id(1)), undefined);
  assert.deepEqual(cache.recount(), cache.totals());
});

Deno.test("CacheIndex.record() writes by itself before its buffer grows without bound", () => {
  const { index, cache } = open();
  const name = new Uint8Array(16);
  for (let n = 0; n < 20_000; n += 1) {
    new DataView(name.buffer).setUint32(0, n * 2_654_435);
    cache.record({ kind: "chunk", id: name, diskBytes: 1, owner: 0 });
  }
  assert.equal(index.generation(), 2);
  assert.equal(cache.totals().chunks, 20_000);
  assert.deepEqual(cache.recount(), cache.totals());
});

Deno.test("CacheIndex.reference() remembers a chunk that was evicted for when it comes back", () => {
  const { cache } = open();
  add(cache, 1, { diskBytes: 8192 });
  cache.reference([{ hash: id(1), length: 8192 }, { hash: id(1), length: 8192 }], VERSION);
  assert.equal(cache.totals().referencedBytes, 16_384);
  assert.equal(cache.remove("chunk", id(1)), true);
  assert.equal(cache.find("chunk", id(1)), undefined);
  assert.equal(cache.remove("chunk", id(1)), false);
  assert.equal(cache.totals().referencedBytes, 0);

  add(cache, 1, { diskBytes: 8192 });

  assert.equal(cache.find("chunk", id(1))?.references, 2);
  assert.equal(cache.find("chunk", id(1))?.owner, VERSION);
  assert.equal(cache.totals().referencedBytes, 16_384);
  cache.dereference([{ hash: id(1), length: 8192 }]);
  assert.equal(cache.find("chunk", id(1))?.references, 1);
});

Deno.test("CacheIndex.dereference() leaves no record of a chunk that nothing knows any more", () => {
  const { index, cache } = open();
  cache.reference([{ hash: id(1), length: 10 }], VERSION);
  assert.equal(index.table("items").count(), 1);
  cache.dereference([{ hash: id(1), length: 10 }]);
  assert.equal(index.table("items").count(), 0);
});

Deno.test("CacheIndex.inFolder() finds what begins with the byte, 255 too", () => {
  const { cache } = open();
  for (const n of [0, 7, 254, 255]) {
    add(cache, n);
    add(cache, n, { kind: "extent" });
  }
  for (const n of [0, 7, 254, 255]) {
    for (const kind of ["chunk", "extent"] as const) {
      const found = cache.inFolder(kind, n);
      assert.deepEqual(found.map((item) => [item.kind, item.id]), [[kind, id(n)]]);
    }
  }
  assert.deepEqual(cache.inFolder("chunk", 8), []);
});

Deno.test("CacheIndex keeps what it was told when the index cannot be written", () => {
  const { index, cache } = open();
  index.beforeCommit = () => {
    throw new MusicfsError("full", "full", { op: "test", subject: "test" });
  };
  for (const n of [1, 2, 3]) add(cache, n);
  assert.throws(() => cache.flush(), { code: "full" });
  assert.throws(() => cache.remove("chunk", id(2)), { code: "full" });
  index.beforeCommit = () => {};
  assert.equal(cache.totals().chunks, 3);
  assert.deepEqual(order(cache), [1, 2, 3]);
  assert.deepEqual(cache.recount(), cache.totals());
});

/** What one test step does; `nested` runs in an outer transaction, which may fail. */
type Step =
  | { op: "record" | "use" | "remove" | "reference" | "dereference"; n: number; size: number }
  | { op: "flush" | "find" | "wait" | "protect" }
  | { op: "nested"; steps: Step[]; fails: boolean };

/** The same in plain words: what is there, and how often it is named. */
class Model {
  present = new Map<number, number>();
  references = new Map<number, number>();

  apply(step: Step): void {
    if (step.op === "record") this.present.set(step.n, step.size * 4096);
    if (step.op === "remove") this.present.delete(step.n);
    if (step.op === "reference") this.references.set(step.n, this.referencesOf(step.n) + 1);
    if (step.op === "dereference") {
      this.references.set(step.n, Math.max(0, this.referencesOf(step.n) - 1));
    }
    if (step.op === "nested") { for (const inner of step.steps) this.apply(inner); }
  }

  referencesOf(n: number): number {
    return this.references.get(n) ?? 0;
  }

  check(cache: CacheIndex): void {
    const totals = { chunks: 0, chunkDiskBytes: 0, referencedBytes: 0 };
    for (const [n, diskBytes] of this.present) {
      totals.chunks += 1;
      totals.chunkDiskBytes += diskBytes;
      totals.referencedBytes += diskBytes * this.referencesOf(n);
    }
    const { chunks, chunkDiskBytes, referencedBytes } = cache.totals();
    assert.deepEqual({ chunks, chunkDiskBytes, referencedBytes }, totals);
    for (let n = 0; n < 6; n += 1) {
      assert.equal(cache.find("chunk", id(n))?.diskBytes, this.present.get(n));
    }
  }
}

const leaf = fc.oneof(
  fc.record({
    op: fc.constantFrom("record", "use", "remove", "reference", "dereference"),
    n: fc.nat(5),
    size: fc.integer({ min: 1, max: 3 }),
  }),
  fc.record({ op: fc.constantFrom("flush", "find", "wait", "protect") }),
) as fc.Arbitrary<Step>;
const nested = fc.record({
  op: fc.constant("nested"),
  steps: fc.array(leaf, { maxLength: 8 }),
  fails: fc.boolean(),
}) as fc.Arbitrary<Step>;

function run(step: Step, { index, clock, cache }: ReturnType<typeof open>): void {
  if (step.op === "record") add(cache, step.n, { diskBytes: step.size * 4096 });
  if (step.op === "use") cache.use("chunk", id(step.n));
  if (step.op === "remove") cache.remove("chunk", id(step.n));
  if (step.op === "reference") cache.reference([{ hash: id(step.n), length: 1 }], VERSION);
  if (step.op === "dereference") cache.dereference([{ hash: id(step.n), length: 1 }]);
  if (step.op === "flush") cache.flush();
  if (step.op === "find") cache.find("chunk", id(0));
  if (step.op === "wait") void clock.advance(200_000);
  if (step.op === "protect") cache.move([{ kind: "chunk", id: id(1) }], SEGMENT.protected);
  if (step.op !== "nested") return;
  const body = (): void => {
    for (const inner of step.steps) run(inner, { index, clock, cache });
    if (step.fails) throw new Error("stop");
  };
  if (step.fails) assert.throws(() => index.transaction(body), { message: "stop" });
  else index.transaction(body);
}

Deno.test("CacheIndex agrees with a model whatever transactions it joins and loses", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(leaf, nested), { maxLength: 40 }), (steps) => {
      const opened = open();
      const model = new Model();
      for (const step of steps) {
        run(step, opened);
        if (step.op === "nested" && step.fails) {
          // Files that came are there all the same; all else goes with the transaction.
          for (const inner of step.steps) if (inner.op === "record") model.apply(inner);
        } else {
          model.apply(step);
        }
        model.check(opened.cache);
      }
      const { protectedDiskBytes: _, ...totals } = opened.cache.totals();
      const { protectedDiskBytes, ...counted } = opened.cache.recount();
      assert.deepEqual(totals, counted);
      assert.equal(opened.cache.totals().protectedDiskBytes, protectedDiskBytes);
      assert.equal(order(opened.cache).length, totals.chunks);
      assert.equal(opened.index.table("lru").count(), totals.chunks);
    }),
    { numRuns: 300 },
  );
});
