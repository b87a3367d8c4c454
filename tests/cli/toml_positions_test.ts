import fc from "fast-check";
import assert from "node:assert/strict";
import { parse, stringify } from "smol-toml";
import { keyPositions, positionOf } from "../../src/cli/toml_positions.ts";

const TEXT = `# a comment with "quotes" and [brackets]
cache_dir = "~/#no comment" # but this
'odd key' = '''
a = 1
''' 
exclude = [ "a]", # more
  'b', ["c"] ]
inline = { x = 1, "y" = { z = [ { w = 2 } ] } }

[[origin]]
name = "one"
[[origin]]
  url = """x"""
[origin.more]
deep.er = 1
`;

Deno.test("keyPositions() finds keys through strings, arrays, tables and comments", () => {
  parse(TEXT); // It is TOML.
  const found = keyPositions(TEXT).map(({ path, line, column }) =>
    `${path.join(".")} ${line}:${column}`
  );
  assert.deepEqual(found, [
    "cache_dir 2:1",
    "odd key 3:1",
    "exclude 6:1",
    "inline 8:1",
    "inline.x 8:12",
    "inline.y 8:19",
    "inline.y.z 8:27",
    "inline.y.z.0.w 8:35",
    "origin 10:3",
    "origin.0.name 11:1",
    "origin 12:3",
    "origin.1.url 13:3",
    "origin.1.more 14:2",
    "origin.1.more.deep.er 15:1",
  ]);
});

Deno.test("positionOf() falls back to what a value lies in", () => {
  const positions = keyPositions(TEXT);
  assert.equal(positionOf(positions, ["exclude", 1])?.line, 6);
  assert.equal(positionOf(positions, ["origin", 1, "url"])?.line, 13);
  assert.equal(positionOf(positions, ["none"]), undefined);
});

Deno.test("keyPositions() finds every key of any document, where it says", () => {
  const keys = fc.oneof(fc.stringMatching(/^[a-z_-]{1,8}$/), fc.string({ minLength: 1 }))
    .filter((key) => key !== "__proto__");
  const leaves = fc.oneof(
    fc.string(),
    fc.boolean(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
  );
  const values = fc.oneof(
    leaves,
    fc.array(fc.string(), { maxLength: 3 }),
    fc.dictionary(keys, leaves, { maxKeys: 3, noNullPrototype: true }),
  );
  fc.assert(
    fc.property(fc.dictionary(keys, values, { maxKeys: 4, noNullPrototype: true }), (tree) => {
      const text = stringify(tree);
      const positions = keyPositions(text);
      const lines = text.split("\n");
      for (const [key, value] of Object.entries(tree)) {
        if (typeof value === "object" && !Array.isArray(value) && Object.keys(value).length === 0) {
          continue;
        }
        const position = positionOf(positions, [key]) ??
          positionOf(positions, [key, Object.keys(value)[0] ?? ""]);
        assert(position, key);
        assert((lines[position.line - 1] ?? "").length >= position.column - 1);
      }
    }),
  );
});
