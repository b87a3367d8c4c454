import assert from "node:assert/strict";
import { join } from "node:path";
import type { OpenNote } from "../../src/fuse/open_files.ts";
import { HandleLedgerFile } from "../../src/mount/handle_ledger.ts";
import { randomNumbers } from "../support/churn.ts";
import { testWith } from "../support/requirements.ts";
import { rounds, seed } from "../support/scale.ts";
import { smallDisk } from "../support/small_disk.ts";
import { tempDir } from "../support/temp_dir.ts";

const FRESH = { resumed: false, isNeeded: true };
const RESUMED = { resumed: true, isNeeded: true };

function noteOf(node: number, handles = 1): OpenNote {
  return { node, backingId: node % 7, handles, request: node * 2 };
}

function opened(path: string, options: typeof FRESH): HandleLedgerFile {
  const ledger = HandleLedgerFile.open(path, options);
  assert(ledger);
  return ledger;
}

/** What a successor finds. */
function inheritedFrom(path: string): { notes: OpenNote[]; isWhole: boolean } {
  using ledger = opened(path, RESUMED);
  return { notes: [...ledger.inherited].sort((a, b) => a.node - b.node), isWhole: ledger.isWhole };
}

Deno.test("HandleLedgerFile gives a successor what was noted last of each node", async () => {
  await using dir = await tempDir("ledger");
  const path = join(dir.path, "session.handles");
  using ledger = opened(path, FRESH);
  assert.deepEqual(ledger.inherited, []);
  const node = 2 ** 52 + 2 ** 20 + 1;
  for (const note of [noteOf(5), noteOf(node), noteOf(6)]) assert(ledger.put(note));
  assert(ledger.put({ ...noteOf(node), handles: 2 ** 32 - 1, backingId: 2 ** 31 }));
  assert(ledger.put(noteOf(5, 0)));
  const last = { node, backingId: 2 ** 31, handles: 2 ** 32 - 1, request: node * 2 };
  assert.deepEqual(inheritedFrom(path), { notes: [noteOf(5, 0), noteOf(6), last], isWhole: true });
});

Deno.test("HandleLedgerFile lays records out as docs/formats.md says", async () => {
  await using dir = await tempDir("ledger");
  const path = join(dir.path, "session.handles");
  using ledger = opened(path, FRESH);
  ledger.put({ node: 0x0102030405, backingId: 0x0a0b0c0d, handles: 3, request: 0x1112131415 });
  const bytes = await Deno.readFile(path);
  assert.equal(bytes.length, 65_536);
  assert.equal(
    bytes.subarray(0, 64).toHex(),
    "4d465348414e44310100000000000000000000000000000000000000a8a9f57d" +
      "05040302010000001514131211000000" + "0d0c0b0a0300000000000000" + "e298a400",
  );
  assert(bytes.subarray(64).every((byte) => byte === 0));
});

Deno.test("HandleLedgerFile holds more nodes than fit at first, and takes freed places again", async () => {
  await using dir = await tempDir("ledger");
  const path = join(dir.path, "session.handles");
  using ledger = opened(path, FRESH);
  for (let node = 1; node <= 5_000; node += 1) assert(ledger.put(noteOf(node)));
  const { size } = await Deno.stat(path);
  for (let node = 1; node <= 4_000; node += 1) ledger.put(noteOf(node, 0));
  for (let node = 5_001; node <= 9_000; node += 1) assert(ledger.put(noteOf(node)));
  assert.equal((await Deno.stat(path)).size, size);
  assert.deepEqual(
    inheritedFrom(path).notes,
    Array.from({ length: 5_000 }, (_, i) => noteOf(4_001 + i)),
  );
});

Deno.test("HandleLedgerFile begins anew for a fresh mount, and leaves nothing where none is needed", async () => {
  await using dir = await tempDir("ledger");
  const path = join(dir.path, "session.handles");
  opened(path, FRESH).put(noteOf(1));
  assert.deepEqual(opened(path, FRESH).inherited, []);
  opened(path, FRESH).put(noteOf(1));
  assert.equal(HandleLedgerFile.open(path, { resumed: false, isNeeded: false }), undefined);
  await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
  assert.equal(HandleLedgerFile.open(path, { resumed: true, isNeeded: false }), undefined);
});

Deno.test("HandleLedgerFile goes on with a predecessor's notes where it would need none itself", async () => {
  await using dir = await tempDir("ledger");
  const path = join(dir.path, "session.handles");
  opened(path, FRESH).put(noteOf(3));
  using ledger = HandleLedgerFile.open(path, { resumed: true, isNeeded: false });
  assert.deepEqual(ledger?.inherited, [noteOf(3)]);
});

Deno.test("HandleLedgerFile never gives a damaged record for a sound one, nor forgets that there was one", async () => {
  const start = seed();
  const random = randomNumbers(start);
  const below = (limit: number): number => Math.floor(random() * limit);
  await using dir = await tempDir("ledger");
  const path = join(dir.path, "session.handles");
  for (let round = 0; round < rounds({ ci: 200, long: 20_000 }); round += 1) {
    const written = new Map<number, OpenNote>();
    {
      using ledger = opened(path, FRESH);
      for (let i = 0; i < 20; i += 1) {
        const note = { ...noteOf(1 + below(1_000_000)), handles: 1 + below(9) };
        ledger.put(note);
        written.set(note.node, note);
      }
    }
    const bytes = await Deno.readFile(path);
    const at = below(21 * 32);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8));
    await Deno.writeFile(path, bytes);
    for (let life = 0; life < 2; life += 1) {
      const { notes, isWhole } = inheritedFrom(path);
      for (const note of notes) assert.deepEqual(note, written.get(note.node), `seed ${start}`);
      assert(notes.length >= written.size - 1, `seed ${start}: one record was damaged`);
      assert.equal(isWhole, false, `seed ${start}: life ${life}, byte ${at}`);
    }
  }
});

testWith(
  ["root"],
  "HandleLedgerFile says what could not be noted, and so does its file, on a full disk",
  async () => {
    await using disk = await smallDisk(512 * 1024);
    const path = join(disk.path, "session.handles");
    using ledger = opened(path, FRESH);
    for (let node = 1; node <= 2_047; node += 1) assert(ledger.put(noteOf(node)));
    await disk.fill();
    assert.equal(ledger.put(noteOf(9_999)), false);
    assert(ledger.put(noteOf(7, 3)), "what has its place can be noted");
    assert(ledger.put(noteOf(8, 0)));
    assert(ledger.put(noteOf(10_000)), "and what takes another's");
    const { notes, isWhole } = inheritedFrom(path);
    assert.equal(notes.length, 2_047);
    assert.deepEqual(notes.find(({ node }) => node === 7), noteOf(7, 3));
    assert.equal(isWhole, false);
    const other = join(disk.path, "none");
    assert.equal(HandleLedgerFile.open(other, FRESH), undefined);
    await assert.rejects(Deno.stat(other), Deno.errors.NotFound);
  },
);
