import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { PROBE_BYTES, type ProveProgress } from "../../src/library/content_prover.ts";
import type { Takeover } from "../../src/library/library.ts";
import { nodeIdOf } from "../../src/library/node_id.ts";
import type { CallOptions, OriginFile } from "../../src/origins/origin.ts";
import type { ByteRange } from "../../src/base/bytes.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { at, type LibraryFixture, MoodyOrigin, never, openLibrary } from "./library_fixture.ts";

const down = new MusicfsError("unavailable", "down", { op: "test", subject: "nas" });

/** Remembers how many reads were under way at once, and whether all were in the background. */
class ProbedOrigin extends MoodyOrigin {
  running = 0;
  runningMax = 0;
  allInBackground = true;

  override async read(
    file: OriginFile,
    range: ByteRange,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (this.down) throw this.down;
    this.allInBackground &&= options.isBackground === true;
    this.running += 1;
    this.runningMax = Math.max(this.runningMax, this.running);
    await Promise.resolve();
    try {
      return await super.read(file, range, options);
    } finally {
      this.running -= 1;
    }
  }
}

function song(length: number, mark = 0, place = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length).map((_, i) => i % 251);
  if (mark) bytes[place] = mark;
  return bytes;
}

/** Enough of a hash for tests: the bytes themselves. */
const wholeBytes = (bytes: Uint8Array<ArrayBuffer>): Uint8Array => bytes.slice();

/** Lets everything go on until the condition holds. */
async function until({ clock }: LibraryFixture, holds: () => boolean): Promise<void> {
  for (let turns = 0; !holds(); turns += 1) {
    assert(turns < 100_000, "it never comes true");
    await clock.settle();
  }
}

/** Runs the prover until it has nothing more to do for now. */
async function prove(
  fixture: LibraryFixture,
  origins: readonly MemoryOrigin[],
  digest = wholeBytes,
): Promise<ProveProgress | undefined> {
  const stop = new AbortController();
  let last: ProveProgress | undefined;
  const onProgress = (progress: ProveProgress): void => void (last = progress);
  const { library, clock } = fixture;
  const run = library.prove({ digest, origins, signal: stop.signal, onProgress });
  const ended = assert.rejects(run, (error) => error === "enough");
  const rests = (): boolean => clock.sleeping.some((ms) => ms >= 600_000);
  await until(fixture, () => last !== undefined && (last.left === 0 || rests()));
  stop.abort("enough");
  await ended;
  return last;
}

function originsOf({ library }: LibraryFixture, path: string): string[] {
  const { id, sequence } = at(library, path);
  return library.namespace.version(nodeIdOf(id, sequence))?.sources.map((s) => s.origin) ?? [];
}

Deno.test("Library.prove() makes equal files one, and never those that differ", async () => {
  const [disk, nas] = [new ProbedOrigin("disk"), new ProbedOrigin("nas")];
  const big = 3 * PROBE_BYTES;
  disk.put("same", song(big));
  nas.put("same", song(big));
  disk.put("head", song(big));
  nas.put("head", song(big, 9, 0));
  disk.put("tail", song(big));
  nas.put("tail", song(big, 9, big - 1));
  disk.put("small", song(20));
  nas.put("small", song(20));
  disk.put("empty", song(0));
  nas.put("empty", song(0));
  disk.put("size", song(21));
  nas.put("size", song(20));
  const fixture = openLibrary([disk, nas]);
  await fixture.library.scan(never());
  assert.deepEqual(originsOf(fixture, "same"), ["disk"]);
  const node = at(fixture.library, "same").sequence;
  assert.deepEqual(await prove(fixture, [disk, nas]), { equal: 2, different: 2, left: 0 });
  for (const name of ["same", "small", "empty"]) {
    assert.deepEqual(originsOf(fixture, name), ["disk", "nas"], name);
  }
  for (const name of ["head", "tail", "size"]) {
    assert.deepEqual(originsOf(fixture, name), ["disk"], name);
  }
  assert.equal(at(fixture.library, "same").sequence, node);
  assert(disk.allInBackground && nas.allInBackground);
  const reads = disk.reads.filter(({ path }) => path === "same");
  assert.deepEqual(reads, [
    { path: "same", offset: 0, length: PROBE_BYTES },
    { path: "same", offset: big - PROBE_BYTES, length: PROBE_BYTES },
  ]);
  const before = disk.reads.length;
  await fixture.library.scan(never());
  await prove(fixture, [disk, nas]);
  assert.equal(disk.reads.length, before);
});

Deno.test("Library.prove() looks again when a version changed, at that source only", async () => {
  const [disk, nas] = [new ProbedOrigin("disk"), new ProbedOrigin("nas")];
  disk.put("song", song(50));
  nas.put("song", song(50));
  const fixture = openLibrary([disk, nas]);
  await fixture.library.scan(never());
  await prove(fixture, [disk, nas]);
  assert.deepEqual(originsOf(fixture, "song"), ["disk", "nas"]);
  nas.put("song", song(50, 7));
  await fixture.library.scan(never());
  assert.deepEqual(originsOf(fixture, "song"), ["disk"]);
  const reads = disk.reads.length;
  await prove(fixture, [disk, nas]);
  assert.deepEqual(originsOf(fixture, "song"), ["disk"]);
  assert.equal(disk.reads.length, reads);
  nas.put("song", song(50));
  await fixture.library.scan(never());
  await prove(fixture, [disk, nas]);
  assert.deepEqual(originsOf(fixture, "song"), ["disk", "nas"]);
  assert.equal(at(fixture.library, "song").sequence, 1);
});

Deno.test("Library.prove() leaves what an origin that is down has, and goes on when it is back", async () => {
  const [disk, nas] = [new ProbedOrigin("disk"), new ProbedOrigin("nas")];
  for (let i = 0; i < 100; i += 1) {
    disk.put(`${i}`, song(30));
    nas.put(`${i}`, song(30));
  }
  const up = new Set(["disk", "nas"]);
  const fixture = openLibrary([disk, nas], { isUp: (name) => up.has(name) });
  await fixture.library.scan(never());
  nas.down = down;
  assert.equal((await prove(fixture, [disk, nas]))?.left, 100);
  assert.deepEqual(nas.reads, []);
  up.delete("nas");
  nas.down = undefined;
  assert.equal((await prove(fixture, [disk, nas]))?.left, 100);
  assert.deepEqual(nas.reads, []);
  const stop = new AbortController();
  const run = fixture.library.prove({
    digest: wholeBytes,
    origins: [disk, nas],
    signal: stop.signal,
  });
  const ended = assert.rejects(run, (error) => error === "enough");
  await until(fixture, () => fixture.clock.sleeping.includes(600_000));
  up.add("nas");
  fixture.library.originIsBack("nas");
  await until(fixture, () => fixture.index.table("unproven").count() === 0);
  assert.deepEqual(originsOf(fixture, "99"), ["disk", "nas"]);
  assert.equal(disk.reads.length, 100);
  assert(disk.runningMax <= 4 && nas.runningMax <= 4);
  stop.abort("enough");
  await ended;
});

Deno.test("Library.prove() begins by itself when a listing brings a second source", async () => {
  const [disk, nas] = [new ProbedOrigin("disk"), new ProbedOrigin("nas")];
  disk.put("song", song(30));
  const fixture = openLibrary([disk, nas]);
  const { library, clock } = fixture;
  await library.scan(never());
  const stop = new AbortController();
  const run = library.prove({ digest: wholeBytes, origins: [disk, nas], signal: stop.signal });
  const ended = assert.rejects(run, (error) => error === "enough");
  nas.put("song", song(30));
  await library.scan(never());
  await until(fixture, () => clock.sleeping.includes(1_000));
  await clock.advance(1_000);
  await until(fixture, () => fixture.index.table("unproven").count() === 0);
  assert.deepEqual(originsOf(fixture, "song"), ["disk", "nas"]);
  stop.abort("enough");
  await ended;
});

Deno.test("Library keeps a file's node when a source proven equal takes over, and tells", async () => {
  const [disk, nas] = [new ProbedOrigin("disk"), new ProbedOrigin("nas")];
  const other = disk.put("song", song(30));
  const same = nas.put("song", song(30));
  nas.put("more", song(1));
  disk.put("more", song(2));
  const takeovers: Takeover[] = [];
  const fixture = openLibrary([disk, nas], { onTakeover: (told) => takeovers.push(told) });
  const { library, index } = fixture;
  await library.scan(never());
  await prove(fixture, [disk, nas]);
  const before = at(library, "song");
  const node = nodeIdOf(before.id, before.sequence);
  disk.remove("song");
  await library.scan(never());
  assert.deepEqual(originsOf(fixture, "song"), ["nas"]);
  assert.equal(at(library, "song").sequence, before.sequence);
  assert.deepEqual(
    takeovers.map(({ before, after }) => [before.id, before.sources[0], after.id, after.sources]),
    [[
      node,
      { origin: "disk", path: "song", version: other.version },
      node,
      [{ origin: "nas", path: "song", version: same.version }],
    ]],
  );
  disk.put("song", song(30));
  await library.scan(never());
  assert.equal(at(library, "song").sequence, 2, "an unproven winner is another version");
  await prove(fixture, [disk, nas]);
  const alone = openLibrary([nas], { index });
  assert.equal(at(alone.library, "song").sequence, 2, "its origin is no longer configured");
  assert.equal(at(alone.library, "more").sequence, 2, "a different content is another version");
  assert.deepEqual(originsOf(alone, "song"), ["nas"]);
});

Deno.test("Library forgets probes with the file, and when its bytes are found to differ", async () => {
  const [disk, nas] = [new ProbedOrigin("disk"), new ProbedOrigin("nas")];
  for (const name of ["a", "b"]) {
    disk.put(name, song(30));
    nas.put(name, song(30));
  }
  const fixture = openLibrary([disk, nas]);
  const { library, index } = fixture;
  await library.scan(never());
  await prove(fixture, [disk, nas]);
  assert.equal(index.table("probes").count(), 4);
  disk.remove("a");
  nas.remove("a");
  await library.scan(never());
  assert.equal(index.table("probes").count(), 2);
  await library.renew(at(library, "b").id);
  assert.deepEqual(originsOf(fixture, "b"), ["disk"]);
  assert.equal(index.table("probes").count(), 0);
  assert.equal(index.table("unproven").count(), 1);
});

Deno.test("Library.prove() probes anew what another hash was taken of", async () => {
  const [disk, nas] = [new ProbedOrigin("disk"), new ProbedOrigin("nas")];
  disk.put("song", song(30));
  nas.put("song", song(30));
  const fixture = openLibrary([disk, nas]);
  await fixture.library.scan(never());
  nas.down = down;
  await prove(fixture, [disk, nas], () => Uint8Array.of(1));
  nas.down = undefined;
  await prove(fixture, [disk, nas]);
  assert.deepEqual(originsOf(fixture, "song"), ["disk"]);
  await prove(fixture, [disk, nas]);
  assert.deepEqual(originsOf(fixture, "song"), ["disk", "nas"]);
});

const names = ["disk", "nas", "box"];
const action = fc.oneof(
  fc.record({ put: fc.constantFrom(...names), content: fc.nat(2) }),
  fc.record({ remove: fc.constantFrom(...names) }),
  fc.constant({ what: "scan" as const }),
  fc.constant({ what: "prove" as const }),
  fc.record({ order: fc.shuffledSubarray(names, { minLength: 1 }) }),
);

Deno.test("Every source of every version holds that version's bytes, whatever came before", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 3, maxLength: 14 }), async (actions) => {
      const origins = names.map((name) => new ProbedOrigin(name));
      const contentOf = new Map<string, number>();
      const seen = new Map<number, number>();
      let fixture = openLibrary(origins);
      for (const now of actions) {
        if ("put" in now) {
          const origin = origins.find(({ name }) => name === now.put);
          const { version } = origin?.put("song", song(40, 1 + now.content)) ?? { version: "" };
          contentOf.set(`${now.put}:${version}`, now.content);
        } else if ("remove" in now) {
          origins.find(({ name }) => name === now.remove)?.remove("song");
        } else if ("order" in now) {
          const used = now.order.flatMap((name) => origins.filter((o) => o.name === name));
          await fixture.library[Symbol.asyncDispose]();
          fixture = openLibrary(used, { index: fixture.index });
        } else if (now.what === "prove") await prove(fixture, origins);
        else await fixture.library.scan({ acceptDeletions: true, ...never() });
        const { namespace } = fixture.library;
        const entry = namespace.find("song");
        const node = entry && nodeIdOf(entry.id, entry.sequence);
        if (node !== undefined && !seen.has(node)) seen.set(node, -1);
        for (const [node, before] of seen) {
          for (const { origin, version } of namespace.version(node)?.sources ?? []) {
            const content = contentOf.get(`${origin}:${version}`) ?? -2;
            if (before >= 0) assert.equal(content, before);
            else if ((seen.get(node) ?? -1) >= 0) assert.equal(content, seen.get(node));
            seen.set(node, content);
          }
        }
      }
      await fixture.library[Symbol.asyncDispose]();
    }),
    { numRuns: 80 },
  );
});
