import assert from "node:assert/strict";
import fc from "fast-check";
import type { FileVersion } from "../../src/store/file_version.ts";
import { TakenOver } from "../../src/store/taken_over.ts";

function at(origin: string, id = 1): FileVersion {
  const source = { origin, path: "song.flac", version: "v1" };
  return { id, size: 10, mtimeNs: 0n, sources: [source] };
}

Deno.test("TakenOver.current() follows every takeover to the latest, and ends in circles too", () => {
  const origins = ["a", "b", "c", "d"];
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.constantFrom(...origins), fc.constantFrom(1, 2)), { maxLength: 40 }),
    (steps) => {
      const takenOver = new TakenOver();
      const latest = new Map([[1, "a"], [2, "a"]]);
      const held = new Map([[1, new Set(["a"])], [2, new Set(["a"])]]);
      for (const [origin, id] of steps) {
        takenOver.note(at(latest.get(id) ?? "", id), at(origin, id));
        latest.set(id, origin);
        held.get(id)?.add(origin);
        for (const [other, names] of held) {
          for (const name of names) {
            const { id: found, sources } = takenOver.current(at(name, other));
            assert.deepEqual([found, sources[0].origin], [other, latest.get(other)]);
          }
        }
      }
    },
  ));
});

Deno.test("TakenOver.current() of what was never taken over is the same object", () => {
  const takenOver = new TakenOver();
  takenOver.note(at("a"), at("b"));
  const other = at("a", 2);
  assert.equal(takenOver.current(other), other);
});
