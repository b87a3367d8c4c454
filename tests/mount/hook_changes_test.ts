import fc from "fast-check";
import assert from "node:assert/strict";
import {
  commonFolder,
  GATHERED_CHANGES_MAX,
  GATHERED_CHARS_MAX,
  GATHERED_FOLDERS_MAX,
  GatheredChanges,
  type HookBatch,
} from "../../src/mount/hook_changes.ts";
import type { EntryEvent } from "../../src/library/library.ts";

function gathered(events: Iterable<EntryEvent>): HookBatch {
  const changes = new GatheredChanges();
  changes.add(events);
  return changes.batch();
}

Deno.test("GatheredChanges tells of each path what became of it altogether", () => {
  const cases: [told: EntryEvent[], changes: HookBatch["changes"]][] = [
    [
      [{ kind: "added", path: "a" }, { kind: "changed", path: "a" }],
      [{ kind: "added", path: "a" }],
    ],
    [
      [{ kind: "gone", path: "a" }, { kind: "added", path: "a" }],
      [{ kind: "changed", path: "a" }],
    ],
    [
      [{ kind: "moved", path: "b", from: "a" }, { kind: "moved", path: "c", from: "b" }],
      [{ kind: "removed", path: "b" }, { kind: "moved", path: "c", from: "a" }],
    ],
    [
      [{ kind: "moved", path: "b", from: "a" }, { kind: "changed", path: "b" }],
      [{ kind: "removed", path: "a" }, { kind: "added", path: "b" }],
    ],
    [
      [{ kind: "added", path: "a" }, { kind: "moved", path: "b", from: "a" }],
      [{ kind: "removed", path: "a" }, { kind: "added", path: "b" }],
    ],
  ];
  for (const [told, changes] of cases) assert.deepEqual(gathered(told).changes, changes);
});

/** What happens to a few files, as it may: nothing is changed that is not there. */
const histories = fc.array(
  fc.record({
    kind: fc.constantFrom("added", "changed", "gone", "moved"),
    path: fc.constantFrom("a", "b", "c", "d"),
    from: fc.constantFrom("a", "b", "c", "d"),
  }),
  { maxLength: 12 },
);

Deno.test("GatheredChanges leads from what was to what is, whatever happened in between", () => {
  fc.assert(fc.property(fc.subarray(["a", "b", "c", "d"]), histories, (paths, history) => {
    const before = new Map(paths.map((path) => [path, `first ${path}`]));
    const now = new Map(before);
    const told: EntryEvent[] = [];
    for (const [at, { kind, path, from }] of history.entries()) {
      const [there, content] = [now.has(path), now.get(from)];
      if (
        kind === "moved" ? content === undefined || from === path : (kind === "added") === there
      ) {
        continue;
      }
      told.push(kind === "moved" ? { kind, path, from } : { kind, path } as EntryEvent);
      if (kind === "moved") now.delete(from);
      if (kind === "gone") now.delete(path);
      else now.set(path, kind === "moved" ? content ?? "" : `content ${at}`);
    }
    const { changes } = gathered(told);
    const left = new Set<string>();
    for (const { kind, path, from = "" } of changes) {
      if (kind === "removed") assert(!now.has(path), `${path} is there`);
      else assert(now.has(path), `${path} is gone`);
      if (kind === "moved") assert.equal(now.get(path), before.get(from), `${path} is not ${from}`);
      left.add(kind === "moved" ? from : "").add(kind === "removed" ? path : "");
    }
    const known = new Set(changes.map(({ path }) => path));
    for (const [path, content] of now) {
      assert(known.has(path) || before.get(path) === content, path);
    }
    for (const path of before.keys()) assert(now.has(path) || left.has(path), path);
    assert.equal(known.size, changes.length, "each path once");
  }));
});

Deno.test("GatheredChanges counts, and names the folders on both sides of a move", () => {
  const batch = gathered([
    { kind: "added", path: "A/one" },
    { kind: "changed", path: "A/B/two" },
    { kind: "gone", path: "three" },
    { kind: "moved", path: "C/four", from: "D/four" },
  ]);
  const { added, changed, moved, removed, truncated, folders } = batch;
  assert.deepEqual([added, changed, moved, removed, truncated], [1, 1, 1, 1, false]);
  assert.deepEqual(folders, ["", "A", "A/B", "C", "D"]);
});

Deno.test("GatheredChanges has a bound, beyond which it names folders only", () => {
  const many = (count: number, pathOf: (i: number) => string): EntryEvent[] =>
    Array.from({ length: count }, (_, i) => ({ kind: "added", path: pathOf(i) }));
  const bound = gathered(many(GATHERED_CHANGES_MAX, (i) => `A/B${i % 7}/${i}`));
  assert.equal(bound.truncated, false);
  assert.equal(bound.changes.length, GATHERED_CHANGES_MAX);
  const beyond = gathered(many(GATHERED_CHANGES_MAX + 5, (i) => `A/B${i % 7}/${i}`));
  assert.deepEqual([beyond.truncated, beyond.changes.length], [true, 0]);
  assert.equal(beyond.added, GATHERED_CHANGES_MAX + 5);
  assert.deepEqual(beyond.folders, ["A/B0", "A/B1", "A/B2", "A/B3", "A/B4", "A/B5", "A/B6"]);
  const long = "x".repeat(4_000);
  const few = gathered(many(GATHERED_CHARS_MAX / 4_000 + 1, (i) => `A/${i}${long}`));
  assert.deepEqual([few.truncated, few.folders], [true, ["A"]]);
});

Deno.test("GatheredChanges names the folders above where there are too many", () => {
  const events = Array.from({ length: 40_000 }, (_, i): EntryEvent => ({
    kind: "gone",
    path: `Artist ${i % 300}/Album ${i % 900}/CD ${i % 2}/${i}`,
  }));
  const { folders, removed } = gathered(events);
  assert.equal(removed, 40_000);
  assert(folders.length <= GATHERED_FOLDERS_MAX);
  assert.equal(folders.length, 300, "one for each artist");
  const flat = gathered(
    Array.from({ length: 40_000 }, (_, i) => ({ kind: "gone", path: `${i}/x` })),
  );
  assert.deepEqual(flat.folders, [""]);
});

Deno.test("GatheredChanges.addAll() adds what came later, also to and from what is too much", () => {
  const much = (): GatheredChanges => {
    const changes = new GatheredChanges();
    for (let i = 0; i < GATHERED_CHANGES_MAX + 1; i += 1) {
      changes.add([{ kind: "added", path: `A/${i}` }]);
    }
    return changes;
  };
  const little = (): GatheredChanges => {
    const changes = new GatheredChanges();
    changes.add([{ kind: "gone", path: "B/x" }]);
    return changes;
  };
  for (const [earlier, later] of [[much(), little()], [little(), much()]] as const) {
    earlier.addAll(later);
    const { added, removed, folders } = earlier.batch();
    assert.deepEqual([added, removed, folders], [GATHERED_CHANGES_MAX + 1, 1, ["A", "B"]]);
  }
  const both = little();
  both.addAll(little());
  assert.equal(both.batch().removed, 1);
});

Deno.test("commonFolder() is the innermost folder that holds all", () => {
  const cases: [string[], string][] = [
    [[], ""],
    [["A/B"], "A/B"],
    [["A/B", "A/C"], "A"],
    [["A/B", "A/B/C"], "A/B"],
    [["A/B", "A"], "A"],
    [["A", "AB"], ""],
    [["", "A"], ""],
    [["A", ""], ""],
  ];
  for (const [folders, common] of cases) {
    assert.equal(commonFolder(folders), common, folders.join());
  }
});
