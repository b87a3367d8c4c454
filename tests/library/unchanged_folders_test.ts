import assert from "node:assert/strict";
import { UnchangedFolders } from "../../src/library/unchanged_folders.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import {
  bytes,
  checkConsistency,
  type LibraryFixture,
  never,
  openLibrary,
  treeOf,
} from "./library_fixture.ts";

const SECOND_NS = 1_000_000_000n;

/** An origin whose folders' times the test moves. */
class TimedOrigin extends MemoryOrigin {
  readonly stats: string[] = [];

  constructor(readonly clock: VirtualClock) {
    super("nas");
  }

  /** Changes the names of a folder, `ageS` seconds ago. */
  touch(folder: string, ageS: number): void {
    this.putFolder(folder, BigInt(Math.trunc(this.clock.now() / 1_000) - ageS) * SECOND_NS);
  }

  override stat(...args: Parameters<MemoryOrigin["stat"]>): ReturnType<MemoryOrigin["stat"]> {
    this.stats.push(args[0]);
    return super.stat(...args);
  }

  /** Folders that were listed since this was called last. */
  listed(): string[] {
    this.stats.length = 0;
    return this.lists.splice(0).sort();
  }
}

/** Two artists with two albums each, all of them old; scanned once. */
async function scanned(): Promise<LibraryFixture & { nas: TimedOrigin; poll: Poll }> {
  const clock = new VirtualClock();
  const nas = new TimedOrigin(clock);
  for (const album of ["a/1", "a/2", "b/1", "b/2"]) {
    nas.put(`${album}/song`, bytes(1));
    nas.touch(album, 1_000);
  }
  for (const folder of ["", "a", "b"]) nas.touch(folder, 1_000);
  const fixture = openLibrary([nas], { clock });
  const poll = async (): Promise<number[]> => {
    const { added, changed, gone, files, folders } = await fixture.library.scan({
      skipUnchanged: ["nas"],
      ...never(),
    });
    assert.deepEqual(treeOf(fixture.library).length, files + folders);
    return [added, changed, gone];
  };
  assert.deepEqual(await poll(), [4, 0, 0]);
  assert.equal(nas.listed().length, 7);
  return { ...fixture, nas, poll };
}

type Poll = () => Promise<number[]>;

Deno.test("Library.scan() lists no folder again whose time is what it was, and counts all", async () => {
  const { nas, poll, library } = await scanned();
  assert.deepEqual(await poll(), [0, 0, 0]);
  assert.deepEqual(nas.stats.toSorted(), ["", "a", "a/1", "a/2", "b", "b/1", "b/2"]);
  assert.deepEqual(nas.listed(), []);
  const { files, folders } = await library.scan(never());
  assert.deepEqual([files, folders], [4, 6]);
  assert.equal(nas.listed().length, 7, "only who asks for it leaves folders out");
});

Deno.test("Library.scan() lists a folder whose time moved, below folders that it leaves", async () => {
  const fixture = await scanned();
  const { nas, poll, clock } = fixture;
  nas.put("a/1/new", bytes(1));
  nas.touch("a/1", 100);
  assert.deepEqual(await poll(), [1, 0, 0]);
  assert.deepEqual(nas.listed(), ["a/1"]);
  nas.remove("b/2");
  nas.put("b/3/song", bytes(1));
  nas.touch("b/3", 100);
  nas.touch("b", 100);
  assert.deepEqual((await poll()).slice(0, 1), [1]);
  // What is in a folder whose names changed may be another folder, with the time of the old one;
  // the root is looked at again before anything goes.
  assert.deepEqual(nas.listed(), ["", "b", "b/1", "b/3"]);
  await poll();
  assert.deepEqual(nas.listed(), ["b"], "it missed a name");
  await poll();
  assert.deepEqual(nas.listed(), []);
  await clock.advance(1_000);
  checkConsistency(fixture);
});

Deno.test("Library.scan() lists a folder again that changed a moment before it was listed", async () => {
  const { nas, poll, clock } = await scanned();
  nas.put("a/1/first", bytes(1));
  nas.touch("a/1", 1);
  assert.deepEqual(await poll(), [1, 0, 0]);
  nas.listed();
  // Within the same second: its time stays.
  nas.put("a/1/second", bytes(1));
  assert.deepEqual(await poll(), [1, 0, 0]);
  assert.deepEqual(nas.listed(), ["a/1"]);
  await clock.advance(70_000);
  await poll();
  assert.deepEqual(nas.listed(), ["a/1"]);
  await poll();
  assert.deepEqual(nas.listed(), []);
});

Deno.test("Library.scan() lists each folder within an hour, for edits in place", async () => {
  const { nas, poll, clock } = await scanned();
  nas.put("a/1/song", bytes(2));
  assert.deepEqual(await poll(), [0, 0, 0]);
  const listed = new Set<string>();
  let changed = 0;
  for (let minute = 0; minute < 61; minute += 5) {
    await clock.advance(300_000);
    changed += (await poll())[1] ?? 0;
    for (const folder of nas.listed()) listed.add(folder);
    if (minute < 25) assert.equal(listed.size, 0);
  }
  assert.deepEqual([changed, listed.size], [1, 7]);
});

Deno.test("Library.scan() looks again at what it missed and did not believe", async () => {
  const { nas, library, poll } = await scanned();
  for (let i = 0; i < 20; i += 1) nas.put(`a/1/${i}`, bytes(1));
  nas.touch("a/1", 100);
  await poll();
  for (let i = 0; i < 20; i += 1) nas.remove(`a/1/${i}`);
  nas.touch("a/1", 90);
  const scan = { skipUnchanged: ["nas"], ...never() };
  assert.deepEqual((await library.scan(scan)).held, { gone: 20, of: 24 });
  assert.equal((await library.scan(scan)).gone, 20);
});

Deno.test("Library.scan() trusts no folder times that stay when names change", async () => {
  const { nas, poll, clock, warnings } = await scanned();
  nas.put("a/1/new", bytes(1));
  await clock.advance(3_600_000);
  assert.deepEqual(await poll(), [1, 0, 0]);
  assert.match(warnings.join(), /keep their times/);
  nas.listed();
  await poll();
  assert.equal(nas.listed().length, 7);
});

Deno.test("UnchangedFolders remembers no folder without a time, nor one that misses names", () => {
  const clock = new VirtualClock();
  const unchanged = new UnchangedFolders(clock);
  const old = SECOND_NS;
  const table = [
    [{ mtimeNs: old, added: 3, missing: 0 }, true],
    [{ mtimeNs: 0n, added: 0, missing: 0 }, false],
    [{ mtimeNs: old, added: 0, missing: 1 }, false],
    [{ mtimeNs: BigInt(clock.now()) * 1_000_000n, added: 0, missing: 0 }, false],
    [{ mtimeNs: BigInt(clock.now() - 61_000) * 1_000_000n, added: 0, missing: 0 }, false],
  ] as const;
  for (const [i, [listed, expected]] of table.entries()) {
    unchanged.note(1, i, listed);
    assert.equal(unchanged.isUnchanged(1, i, listed.mtimeNs), expected, String(i));
    assert.equal(unchanged.isUnchanged(2, i, listed.mtimeNs), false);
    assert.equal(unchanged.isUnchanged(1, i, listed.mtimeNs + 1n), false);
  }
});
