import fc from "fast-check";
import assert from "node:assert/strict";
import {
  decodeNote,
  encodeNote,
  hasOtherCommit,
  type IndexNote,
  probePlan,
} from "../../src/store/index_note.ts";

const look = { ino: "12", size: 8192, ctimeNs: "1700000000000000001" };
const closed: IndexNote = { bootId: "a", state: "closed", settled: true, look };
const open: IndexNote = { bootId: "a", state: "open", settled: true, look: undefined };
const now = { bootId: "a", look, suspect: false };

const PLANS: [string, IndexNote | undefined, Parameters<typeof probePlan>[1], string][] = [
  ["stopped cleanly", closed, now, "none"],
  ["stopped cleanly within seconds", { ...closed, settled: false }, now, "none"],
  ["died", open, now, "later"],
  ["died within seconds", { ...open, settled: false }, now, "first"],
  ["left no note", undefined, now, "first"],
  ["stopped cleanly before this boot", closed, { ...now, bootId: "b" }, "later"],
  ["died before this boot", open, { ...now, bootId: "b" }, "first"],
  ["met with damage", closed, { ...now, suspect: true }, "first"],
  ["had another file", closed, { ...now, look: { ...look, ino: "13" } }, "first"],
  ["had a shorter file", closed, { ...now, look: { ...look, size: 4096 } }, "first"],
  ["had an older file", closed, { ...now, look: { ...look, ctimeNs: "1" } }, "first"],
  ["had no file", { ...closed, look: undefined }, now, "first"],
];

for (const [what, note, at, plan] of PLANS) {
  Deno.test(`probePlan() is "${plan}" when the last life ${what}`, () => {
    assert.equal(probePlan(note, at), plan);
  });
}

Deno.test("decodeNote() reads what encodeNote() wrote, and anything else as no note", () => {
  assert.deepEqual(decodeNote(encodeNote(closed)), closed);
  assert.deepEqual(decodeNote(encodeNote(open)), open);
  for (const text of ["", "null", "[]", "{}", '{"bootId":1}', encodeNote(open).slice(0, -9)]) {
    assert.equal(decodeNote(text), undefined);
  }
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
    decodeNote(text);
  }));
});

Deno.test("hasOtherCommit() compares with the clean stop, where it was noted", () => {
  const noted = { ...closed, look: { ...look, commit: "67" } };
  assert.deepEqual(decodeNote(encodeNote(noted)), noted);
  assert.equal(hasOtherCommit(noted, { ...look, ino: "13", commit: "67" }), false);
  assert.equal(hasOtherCommit(noted, { ...look, commit: "66" }), true);
  assert.equal(hasOtherCommit(noted, { ...look, commit: "4611686018427387970" }), true);
  assert.equal(hasOtherCommit(closed, { ...look, commit: "66" }), false);
  assert.equal(hasOtherCommit(open, { ...look, commit: "66" }), false);
  assert.equal(hasOtherCommit(undefined, look), false);
});
