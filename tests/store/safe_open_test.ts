import assert from "node:assert/strict";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { markIndexSuspect } from "../../src/store/index_files.ts";
import type { ProbeResult } from "../../src/store/index_probe_result.ts";
import { probeHere } from "../../src/store/index_probe.ts";
import {
  type OpenedIndex,
  openIndex,
  type OpenIndexOptions,
  openIndexReader,
} from "../../src/store/safe_open.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const KEY = new Uint8Array([1]);

/** One cache folder over several lives of a daemon. */
class Lives {
  readonly clock = new VirtualClock();
  readonly dir: string;
  /** What the probe is going to say. */
  result: ProbeResult | MusicfsError = "ok";
  probes = 0;

  constructor(readonly cache: string) {
    this.dir = `${cache}/index`;
  }

  open(options: Partial<OpenIndexOptions> = {}): Promise<OpenedIndex> {
    return openIndex({
      dir: this.dir,
      clock: this.clock,
      log: silentLog,
      newEpoch: "a".repeat(32),
      probe: () => {
        this.probes += 1;
        if (this.result instanceof MusicfsError) return Promise.reject(this.result);
        return Promise.resolve(this.result);
      },
      ...options,
    });
  }

  /** A life that leaves a record behind and, unless it `dies`, a note of its clean stop. */
  async live({ ms = 20_000, dies = false } = {}): Promise<void> {
    const opened = await this.open();
    await using index = opened.index;
    index.transaction(() => index.table("names").put(KEY, KEY));
    await this.clock.advance(ms);
    await settled(() => ms < 10_000 || this.note().includes('"settled":true'));
    const note = this.note();
    await index[Symbol.asyncDispose]();
    if (dies) await Deno.writeTextFile(`${this.dir}/last_life.json`, note);
  }

  note(): string {
    return Deno.readTextFileSync(`${this.dir}/last_life.json`);
  }

  async setAsideNames(): Promise<string[]> {
    const names = await Array.fromAsync(Deno.readDir(this.cache), ({ name }) => name);
    return names.filter((name) => name.startsWith("index.corrupt-")).sort();
  }
}

/** Lets file operations that nobody awaits come to their end. */
async function settled(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function withLives(body: (lives: Lives) => Promise<void>): Promise<void> {
  await using dir = await tempDir("safe-open");
  await body(new Lives(dir.path));
}

function fails(code: ErrorCode, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert(error instanceof MusicfsError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

Deno.test("openIndex() makes an index, and finds it again without a probe after a clean stop", async () => {
  await withLives(async (lives) => {
    await lives.live();

    const { index, created, setAside, probeLater } = await lives.open();
    await using _ = index;

    assert.deepEqual([created, setAside, probeLater, lives.probes], [false, undefined, false, 0]);
    assert.deepEqual(index.table("names").get(KEY), KEY);
    assert.equal(index.epoch, "a".repeat(32));
  });
});

Deno.test("openIndex() leaves the probe for later after a death, and runs it first after an early one", async () => {
  await withLives(async (lives) => {
    await lives.live({ dies: true });
    {
      const { index, probeLater } = await lives.open();
      await using _ = index;
      assert.deepEqual([probeLater, lives.probes], [true, 0]);
    }
    await lives.live({ ms: 9_999, dies: true });
    const { index, probeLater } = await lives.open();
    await using _ = index;
    assert.deepEqual([probeLater, lives.probes], [false, 1]);
  });
});

Deno.test("openIndex() probes first when the file is not the one it closed", async () => {
  await withLives(async (lives) => {
    await lives.live();
    await Deno.copyFile(`${lives.dir}/data.mdb`, `${lives.dir}/copy`);
    await Deno.rename(`${lives.dir}/copy`, `${lives.dir}/data.mdb`);

    const { index, created } = await lives.open();
    await using _ = index;

    assert.deepEqual([created, lives.probes], [false, 1]);
  });
});

Deno.test("openIndex() sets aside what the probe finds bad, and keeps the newest two of those", async () => {
  await withLives(async (lives) => {
    for (let round = 0; round < 4; round += 1) {
      await lives.live();
      markIndexSuspect(lives.dir);
      lives.result = { bad: "for the test" };
      const { index, created, setAside } = await lives.open();
      await using _ = index;
      assert.equal(created, true);
      assert.equal(index.table("names").count(), 0);
      assert.equal((await lives.setAsideNames()).at(-1), setAside?.slice(lives.cache.length + 1));
      assert((await Deno.stat(`${setAside}/data.mdb`)).size > 0);
      lives.result = "ok";
    }
    assert.equal((await lives.setAsideNames()).length, 2);
  });
});

Deno.test("openIndex() forgets a suspicion that the probe did not confirm", async () => {
  await withLives(async (lives) => {
    await lives.live();
    markIndexSuspect(lives.dir);
    await lives.live();
    assert.equal(lives.probes, 1);
    await lives.live();
    assert.equal(lives.probes, 1);
  });
});

Deno.test("openIndex() opens without a probe that cannot be run, and asks for it later", async () => {
  await withLives(async (lives) => {
    await lives.live();
    markIndexSuspect(lives.dir);
    lives.result = new MusicfsError("unavailable", "no more processes", {
      op: "index.probe",
      subject: "test",
    });
    const { index, created, probeLater } = await lives.open();
    await using _ = index;
    assert.deepEqual([created, probeLater], [false, true]);
  });
});

Deno.test("openIndex() probes at the next start once a reader met with a wrong checksum", async () => {
  await withLives(async (lives) => {
    const value = new TextEncoder().encode("a value that can be found in the file");
    {
      const { index } = await lives.open();
      await using _ = index;
      index.transaction(() => index.table("names").put(KEY, value));
    }
    const path = `${lives.dir}/data.mdb`;
    const file = await Deno.readFile(path);
    const text = new TextDecoder("latin1");
    const at = text.decode(file).indexOf(text.decode(value));
    file[at] = (file[at] ?? 0) ^ 1;
    await Deno.writeFile(path, file);
    {
      const { index, shared, created } = await lives.open();
      await using _ = index;
      assert.equal(created, false);
      await using reader = await openIndexReader({ dir: lives.dir, shared });
      assert.throws(() => reader.table("names").get(KEY), fails("corrupt", /checksum is wrong/));
    }
    await using opened = (await lives.open({ probe: probeHere })).index;
    assert.equal(opened.table("names").count(), 0);
    assert.equal((await lives.setAsideNames()).length, 1);
  });
});

Deno.test("openIndexReader() refuses to write", async () => {
  await withLives(async (lives) => {
    const { index, shared } = await lives.open();
    await using _ = index;
    await using reader = await openIndexReader({ dir: lives.dir, shared });
    assert.equal(reader.epoch, index.epoch);
    assert.throws(() => reader.transaction(() => 1), /Only the main thread writes/);
  });
});

Deno.test("openIndex() sets aside what is no index at all, seen without a probe", async () => {
  const damage: ((dir: string) => Promise<void>)[] = [
    (dir) => Deno.writeTextFile(`${dir}/data.mdb`, "no index ".repeat(5_000)),
    (dir) => Deno.truncate(`${dir}/data.mdb`, 8192),
    async (dir) => {
      await Deno.remove(`${dir}/data.mdb`);
      await Deno.mkdir(`${dir}/data.mdb`);
    },
    async (dir) => {
      await Deno.remove(`${dir}/lock.mdb`);
      await Deno.mkdir(`${dir}/lock.mdb`);
    },
  ];
  for (const strike of damage) {
    await withLives(async (lives) => {
      await lives.live();
      await strike(lives.dir);
      const { index, created, setAside } = await lives.open();
      await using _ = index;
      assert.deepEqual([created, typeof setAside, lives.probes], [true, "string", 0]);
    });
  }
});

Deno.test("openIndex() mends a missing, short or foreign lock.mdb, and a missing data.mdb", async () => {
  await withLives(async (lives) => {
    const lock = `${lives.dir}/lock.mdb`;
    await lives.live();
    for (const text of [undefined, "", "some text", "x".repeat(20_000)]) {
      if (text === undefined) await Deno.remove(lock);
      else await Deno.writeTextFile(lock, text);
      const { index, created } = await lives.open();
      await using _ = index;
      assert.equal(created, false);
      assert.deepEqual(index.table("names").get(KEY), KEY);
    }
    await Deno.remove(`${lives.dir}/data.mdb`);
    const { index, created, setAside } = await lives.open();
    await using _ = index;
    assert.deepEqual([created, setAside], [true, undefined]);
  });
});

Deno.test("openIndex() refuses a newer index and a path that is no folder, and touches neither", async () => {
  await withLives(async (lives) => {
    await lives.live();
    {
      const { index } = await lives.open();
      await using _ = index;
      const format = new TextEncoder().encode("format");
      index.transaction(() => index.table("meta").put(format, new Uint8Array([0, 0, 0, 9])));
    }
    markIndexSuspect(lives.dir);
    const before = await Deno.readFile(`${lives.dir}/data.mdb`);
    for (let round = 0; round < 2; round += 1) {
      const opening = lives.open({ probe: probeHere });
      await assert.rejects(opening, fails("invalid", /format 9.*newer musicfs/));
    }
    assert.deepEqual(await Deno.readFile(`${lives.dir}/data.mdb`), before);
    assert.deepEqual(await lives.setAsideNames(), []);
  });
  await withLives(async (lives) => {
    await Deno.writeTextFile(lives.dir, "mine");
    await assert.rejects(lives.open(), fails("invalid", /is no folder/));
    assert.equal(await Deno.readTextFile(lives.dir), "mine");
  });
});

Deno.test("openIndex() keeps going where its note cannot be written", async () => {
  await withLives(async (lives) => {
    await Deno.mkdir(`${lives.dir}/last_life.json.tmp`, { recursive: true });
    await Deno.writeTextFile(`${lives.dir}/last_life.json.tmp/x`, "");
    const { index, created } = await lives.open();
    await using _ = index;
    assert.equal(created, true);
  });
});

Deno.test("openIndex() sets aside an index whose last commit is not that of the clean stop", async () => {
  await withLives(async (lives) => {
    await lives.live();
    await lives.live();
    // LMDB takes the other meta page for the newest then, which tells of an older state.
    const path = `${lives.dir}/data.mdb`;
    const bytes = await Deno.readFile(path);
    const view = new DataView(bytes.buffer);
    const [first, second] = [0x98, 4096 + 0x98].map((at) => view.getBigUint64(at, true));
    view.setBigUint64((first ?? 0n) > (second ?? 0n) ? 0x98 : 4096 + 0x98, 1n, true);
    await Deno.writeFile(path, bytes);

    const opened = await lives.open();
    await using _index = opened.index;

    assert.equal(opened.created, true);
    assert.equal((await lives.setAsideNames()).length, 1);
  });
});
