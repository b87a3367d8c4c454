import fc from "fast-check";
import assert from "node:assert/strict";
import { pairMoved, type Placed } from "../../src/library/move_pairs.ts";

function placed(paths: readonly string[], firstId: number): Placed[] {
  return paths.map((path, i) => ({ id: firstId + i, path }));
}

function pairsOf(gone: readonly string[], arrived: readonly string[]): string[] {
  return pairMoved(placed(gone, 0), placed(arrived, 1_000))
    .map(({ from, to }) => `${from.path} > ${to.path}`).sort();
}

Deno.test("pairMoved() goes by the name first, then by the order of the paths", () => {
  assert.deepEqual(pairsOf(["a/cover", "b/cover"], ["y/b/cover", "y/a/cover"]), [
    "a/cover > y/a/cover",
    "b/cover > y/b/cover",
  ]);
  assert.deepEqual(pairsOf(["x/2", "x/1"], ["y/1"]), ["x/1 > y/1"]);
  assert.deepEqual(pairsOf(["x/1"], ["y/3", "y/2"]), ["x/1 > y/2"]);
  assert.deepEqual(pairsOf(["x/1", "x/2"], ["y/2", "y/3"]), ["x/1 > y/3", "x/2 > y/2"]);
  assert.deepEqual(pairsOf(["x"], []), []);
});

const paths = fc.uniqueArray(
  fc.tuple(fc.constantFrom("a", "b", "c/d"), fc.constantFrom("1", "2", "3", "4"))
    .map((names) => names.join("/")),
);

Deno.test("pairMoved() pairs one to one, as many as there can be, in whatever order they come", () => {
  fc.assert(fc.property(paths, paths, fc.nat(), (gone, arrived, turn) => {
    const pairs = pairMoved(placed(gone, 0), placed(arrived, 1_000));
    assert.equal(pairs.length, Math.min(gone.length, arrived.length));
    assert.equal(new Set(pairs.map(({ from }) => from.id)).size, pairs.length);
    assert.equal(new Set(pairs.map(({ to }) => to.id)).size, pairs.length);
    const turned = [...gone.slice(turn % 7), ...gone.slice(0, turn % 7)];
    assert.deepEqual(pairsOf(turned, arrived.toReversed()), pairsOf(gone, arrived));
  }));
});
