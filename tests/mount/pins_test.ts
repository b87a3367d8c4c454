import assert from "node:assert/strict";
import fc from "fast-check";
import { silentLog } from "../../src/base/log.ts";
import { isWithin, outermost, Pins, PINS_FILE } from "../../src/mount/pins.ts";
import { tempDir } from "../support/temp_dir.ts";

const pathsOf = (pins: Pins): string[] => pins.list().map(({ path }) => path);

Deno.test("Pins keeps paths in a file of its own, for its user only", async () => {
  await using dir = await tempDir("pins");
  const pins = Pins.open(dir.path, silentLog);
  let told = 0;
  const stop = pins.listen(() => told += 1);
  pins.add(["B", "A/x"], 7);
  pins.add(["B"], 8);
  assert.deepEqual(pins.list(), [{ path: "A/x", sinceMs: 7 }, { path: "B", sinceMs: 7 }]);
  assert.equal(told, 2);
  stop();
  const { mode } = await Deno.stat(`${dir.path}/${PINS_FILE}`);
  assert.equal((mode ?? 0) & 0o777, 0o600);
  const again = Pins.open(dir.path, silentLog);
  assert.deepEqual(again.list(), pins.list());
  assert.equal(again.above("A/x/y")?.path, "A/x");
  assert.equal(again.above("A"), undefined);
  assert.equal(again.above("A/xy"), undefined);
  assert.deepEqual(again.remove("A"), ["A/x"]);
  assert.deepEqual(again.remove("A"), []);
  assert.deepEqual(pathsOf(Pins.open(dir.path, silentLog)), ["B"]);
});

Deno.test("Pins sets a damaged file aside, says so, and begins anew", async () => {
  await using dir = await tempDir("pins");
  for (const text of ["{", '{"format":2,"pins":[]}', '{"format":1,"pins":[{"path":1}]}']) {
    await Deno.writeTextFile(`${dir.path}/${PINS_FILE}`, text);
    const errors: string[] = [];
    const log = { ...silentLog, error: (message: string) => errors.push(message) };
    const pins = Pins.open(dir.path, log);
    assert.deepEqual(pins.list(), []);
    assert.equal(errors.length, 1);
    assert.equal(await Deno.readTextFile(`${dir.path}/${PINS_FILE}.bad`), text);
    pins.add(["A"], 1);
    assert.deepEqual(pathsOf(Pins.open(dir.path, silentLog)), ["A"]);
  }
});

Deno.test("Pins changes nothing if it cannot write it down", async () => {
  await using dir = await tempDir("pins");
  const pins = Pins.open(dir.path, silentLog);
  pins.add(["A"], 1);
  await Deno.mkdir(`${dir.path}/${PINS_FILE}.new`);
  assert.throws(() => pins.add(["B"], 1), { code: "unavailable", message: /pins\.json/ });
  assert.throws(() => pins.remove("A"), { code: "unavailable" });
  assert.deepEqual(pathsOf(pins), ["A"]);
});

Deno.test("outermost() leaves out what lies below another path, and nothing else", () => {
  const path = fc.array(fc.constantFrom("a", "b", "a b", "c"), { maxLength: 4 })
    .map((names) => names.join("/"));
  fc.assert(fc.property(fc.array(path), (paths) => {
    const outer = outermost(paths);
    assert.equal(new Set(outer).size, outer.length);
    for (const one of outer) {
      assert(!outer.some((other) => other !== one && isWithin(one, other)), one);
    }
    for (const one of paths) assert(outer.some((other) => isWithin(one, other)), one);
  }));
});
