import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { Index, KeyRange, Record } from "../../src/store/index.ts";
import { TABLES } from "../../src/store/index.ts";
import { type LmdbIndex, openEnvironment } from "../../src/store/lmdb.ts";
import { openXxh64 } from "../../src/chunking/xxh64.ts";

const EPOCH = "0123456789abcdef0123456789abcdef";
const hash = await openXxh64();

function openAt(dir: string, shared = new SharedArrayBuffer(4)): LmdbIndex {
  return openEnvironment({ dir, shared, hash, writable: true, newEpoch: EPOCH });
}

async function withIndex(
  body: (index: LmdbIndex, dir: string) => void | Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await using index = openAt(dir);
    await body(index, dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function bytes(...values: number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values);
}

function keysIn(index: Index, range: KeyRange): number[][] {
  return Array.from(index.table("names").range(range), ({ key }) => [...key]);
}

const ALL: KeyRange = { start: bytes(), end: bytes(255, 255, 255, 255, 255) };

Deno.test("Index.table().get() gives back what was put, of every size and in every table", async () => {
  await withIndex((index) => {
    const sizes = [0, 1, 7, 8, 100, 2_040, 4_096, 100_000, 1_000_000];
    index.transaction(() => {
      for (const table of TABLES) {
        for (const size of sizes) {
          index.table(table).put(bytes(9, size & 255, size >> 8), new Uint8Array(size).fill(size));
        }
      }
    });
    for (const table of TABLES) {
      for (const size of sizes) {
        const value = index.table(table).get(bytes(9, size & 255, size >> 8));
        assert.deepEqual(value?.slice(), new Uint8Array(size).fill(size));
      }
    }
    assert.equal(index.table("names").get(bytes(1)), undefined);
  });
});

Deno.test("Index survives closing and opening, with its epoch", async () => {
  await withIndex(async (first, dir) => {
    assert.equal(first.created, true);
    first.transaction(() => first.table("names").put(bytes(1), bytes(2)));
    await first[Symbol.asyncDispose]();

    const shared = new SharedArrayBuffer(4);
    const newEpoch = "f".repeat(32);
    await using again = openEnvironment({ dir, shared, hash, writable: true, newEpoch });

    assert.deepEqual([again.created, again.epoch], [false, EPOCH]);
    assert.deepEqual(again.table("names").get(bytes(1)), bytes(2));
  });
});

Deno.test("Index.table().range() agrees with a sorted list, in both directions", async () => {
  const key = fc.uint8Array({ minLength: 1, maxLength: 3, max: 3 });
  const bound = fc.uint8Array({ minLength: 0, maxLength: 3, max: 4 });
  await withIndex((index) => {
    const table = index.table("names");
    fc.assert(
      fc.property(fc.array(key), bound, bound, fc.boolean(), (keys, start, end, reverse) => {
        index.transaction(() => {
          for (const { key } of [...table.range(ALL)]) table.remove(key);
          for (const each of keys) table.put(each, each);
        });
        const unique = new Map(keys.map((each) => [each.join(), [...each]]));
        const expected = [...unique.values()]
          .filter((each) => compare(each, start) >= 0 && compare(each, end) < 0).sort(compare);
        if (reverse) expected.reverse();

        assert.deepEqual(keysIn(index, { start, end, reverse }), expected);
        assert.equal(table.count(), unique.size);
      }),
      { numRuns: 60 },
    );
  });
});

function compare(a: ArrayLike<number>, b: ArrayLike<number>): number {
  for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
    if (a[i] !== b[i]) return Number(a[i]) - Number(b[i]);
  }
  return a.length - b.length;
}

Deno.test("Index.table().range() gives records that outlive the next call", async () => {
  await withIndex((index) => {
    const table = index.table("names");
    index.transaction(() => {
      for (let i = 1; i < 50; i += 1) table.put(bytes(i), bytes(i, i));
    });
    const records: Record[] = [];
    for (const record of table.range(ALL)) {
      records.push(record);
      table.get(bytes(49));
    }
    assert.deepEqual(records.map(({ value }) => value[0]), records.map(({ key }) => key[0]));
  });
});

Deno.test("Index.table().range() may be left early, a thousand times", async () => {
  await withIndex((index) => {
    const table = index.table("names");
    index.transaction(() => {
      for (let i = 1; i < 50; i += 1) table.put(bytes(i), bytes(i));
    });
    for (let round = 0; round < 1_000; round += 1) {
      for (const { key } of table.range({ start: bytes(7), end: bytes(20) })) {
        assert.equal(key[0], 7);
        break;
      }
      index.releaseSnapshot();
    }
  });
});

Deno.test("Index.table().range() keeps its snapshot while others see what was committed", async () => {
  await withIndex((index) => {
    const table = index.table("names");
    index.transaction(() => {
      for (let i = 1; i <= 3; i += 1) table.put(bytes(i), new Uint8Array(3_000).fill(1));
    });
    const seen: number[] = [];
    for (const { key, value } of table.range(ALL)) {
      seen.push(value[0] ?? -1);
      for (let round = 0; round < 20; round += 1) {
        index.transaction(() => {
          for (let i = 1; i <= 9; i += 1) table.put(bytes(i), new Uint8Array(3_000).fill(2));
        });
      }
      assert.equal(table.get(key)?.[0], 2);
    }
    assert.deepEqual(seen, [1, 1, 1]);
    assert.equal(table.count(), 9);
  });
});

Deno.test("Index.transaction() reads its own changes, also while it walks over them", async () => {
  for (const reverse of [false, true]) {
    await withIndex((index) => {
      const table = index.table("lru");
      index.transaction(() => {
        for (let i = 1; i <= 200; i += 1) table.put(bytes(i), new Uint8Array(300));
      });
      const walked: number[] = [];
      index.transaction(() => {
        for (const { key } of table.range({ ...ALL, reverse })) {
          walked.push(key[0] ?? 0);
          assert.equal(table.remove(key), true);
          assert.equal(table.get(key), undefined);
        }
        assert.equal(table.remove(bytes(1)), false);
      });
      const expected = Array.from({ length: 200 }, (_, i) => i + 1);
      assert.deepEqual(walked, reverse ? expected.reverse() : expected);
      assert.equal(table.count(), 0);
    });
  }
});

Deno.test("Index.transaction() undoes all of what a change did that throws", async () => {
  await withIndex((index) => {
    const table = index.table("names");
    index.transaction(() => table.put(bytes(1), bytes(1)));
    const bug = new Error("bug");

    assert.throws(() =>
      index.transaction(() => {
        table.put(bytes(1), bytes(2));
        table.put(bytes(2), bytes(2));
        throw bug;
      }), (error) => error === bug);

    assert.deepEqual(keysIn(index, ALL), [[1]]);
    assert.deepEqual(table.get(bytes(1)), bytes(1));
    assert.equal(index.transaction(() => 7), 7);
  });
});

Deno.test("Index.transaction() within another is part of it, also of its failure", async () => {
  await withIndex((index) => {
    const table = index.table("names");
    index.transaction(() => {
      table.put(bytes(1), bytes(1));
      index.transaction(() => table.put(bytes(2), bytes(2)));
    });
    assert.deepEqual(keysIn(index, ALL), [[1], [2]]);

    const bug = new Error("bug");
    const nested = () =>
      index.transaction(() => {
        table.put(bytes(3), bytes(3));
        throw bug;
      });
    const outer = () =>
      index.transaction(() => {
        table.put(bytes(4), bytes(4));
        assert.throws(nested);
      });
    assert.throws(outer, (error) => error === bug);
    assert.deepEqual(keysIn(index, ALL), [[1], [2]]);
  });
});

Deno.test("Index.transaction() refuses an asynchronous change, and writes outside of one", async () => {
  await withIndex((index) => {
    const table = index.table("names");
    const change = () => {
      table.put(bytes(1), bytes(1));
      return Promise.resolve();
    };
    assert.throws(() => index.transaction(change), /must not be asynchronous/);
    assert.throws(() => table.put(bytes(1), bytes(1)), /outside of a transaction/);
    assert.throws(() => table.remove(bytes(1)), /outside of a transaction/);
    assert.equal(table.count(), 0);
  });
});

Deno.test("Index.generation() counts the commits that changed something", async () => {
  await withIndex((index) => {
    const table = index.table("names");
    const before = index.generation();
    index.transaction(() => table.put(bytes(1), bytes(1)));
    index.transaction(() => table.get(bytes(1)));
    assert.throws(() =>
      index.transaction(() => {
        table.put(bytes(1), bytes(2));
        throw new Error("undo");
      })
    );
    assert.equal(index.generation(), before + 1);
  });
});

Deno.test("Index.table().get() and range() throw corrupt for a flipped bit anywhere in a record", async () => {
  const value = new TextEncoder().encode("the quick brown fox jumps over the lazy dog");
  const key = new TextEncoder().encode("a key that is long enough to be found");
  for (const offset of [0, 20, 43]) {
    await withIndex(async (index, dir) => {
      index.transaction(() => index.table("names").put(key, value));
      await index[Symbol.asyncDispose]();
      await flipBehind(`${dir}/data.mdb`, value, offset);

      await using damaged = openAt(dir);
      const isCorrupt = (error: unknown) =>
        error instanceof MusicfsError && error.code === "corrupt";
      assert.throws(() => damaged.table("names").get(key), isCorrupt);
      const range = { start: bytes(0), end: bytes(255) };
      assert.throws(() => [...damaged.table("names").range(range)], isCorrupt);
    });
  }
});

/** Flips one bit in the record of `value`, at `offset` from its checksum, wherever it stands. */
async function flipBehind(path: string, value: Uint8Array, offset: number): Promise<void> {
  const file = await Deno.readFile(path);
  const text = new TextDecoder("latin1");
  const at = text.decode(file).indexOf(text.decode(value)) - 8 + offset;
  assert(at > 0);
  file[at] = (file[at] ?? 0) ^ 4;
  await Deno.writeFile(path, file);
}

Deno.test("Index opened for a format that is not known yet throws invalid and changes nothing", async () => {
  await withIndex(async (index, dir) => {
    const format = new TextEncoder().encode("format");
    index.transaction(() => index.table("meta").put(format, bytes(0, 0, 0, 2)));
    await index[Symbol.asyncDispose]();
    const before = await Deno.readFile(`${dir}/data.mdb`);

    assert.throws(() => openAt(dir), (error) => {
      assert(error instanceof MusicfsError && error.code === "invalid");
      assert.match(error.message, /has format 2, and this musicfs knows formats up to 1/);
      return true;
    });
    assert.deepEqual(await Deno.readFile(`${dir}/data.mdb`), before);
  });
});

Deno.test("Index.diskBytes() is what its files take up, what is reserved among it", async () => {
  await withIndex(async (index, dir) => {
    const before = index.diskBytes();
    index.transaction(() => index.table("names").put(bytes(1), new Uint8Array(1_000_000)));
    await Deno.writeFile(`${dir}/ballast`, new Uint8Array(500_000));
    let expected = 0;
    for (const name of ["data.mdb", "lock.mdb", "ballast"]) {
      expected += ((await Deno.stat(`${dir}/${name}`)).blocks ?? 0) * 512;
    }
    assert.equal(index.diskBytes(), expected);
    assert(index.diskBytes() >= before + 1_500_000);
  });
});
