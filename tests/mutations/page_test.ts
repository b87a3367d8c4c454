import assert from "node:assert/strict";
import { ABSENT, MUTATIONS } from "./all.ts";
import { FAILURE_MODES } from "./failure_modes.ts";
import { tables, writtenTables } from "./page.ts";

/** Shorter strings say nothing: `${kind}${name}` would be any name's. */
const NAME_MIN = 10;

const read = (path: string): Promise<string> =>
  Deno.readTextFile(new URL(`../../${path}`, import.meta.url));

Deno.test("docs/reliability.md has the tables that the list of mutations makes", async () => {
  const message = "run deno task mutations --write";
  // Widths are deno fmt's affair: it counts an emoji otherwise than we do.
  const plain = (text: string): string => text.replace(/ +/g, " ").replace(/-+/g, "-").trim();
  assert.equal(plain(await writtenTables()), plain(tables()), message);
});

Deno.test("every layer of every failure mode has a mutation, or says why it has none", () => {
  const said = new Set([...MUTATIONS, ...ABSENT].map(({ row, layer }) => `${row} ${layer}`));
  const due = Object.entries(FAILURE_MODES).flatMap(([row, { layers }]) =>
    layers.split(" ").map((layer) => `${row} ${layer}`)
  );
  assert.deepEqual(due.filter((one) => !said.has(one)), []);
});

Deno.test("no layer of a failure mode that has a mutation says that it has none", () => {
  const proven = new Set(MUTATIONS.map(({ row, layer }) => `${row} ${layer}`));
  assert.deepEqual(ABSENT.filter(({ row, layer }) => proven.has(`${row} ${layer}`)), []);
});

Deno.test("every mutation names a test that is there, and changes what stands there once", async () => {
  const wrong: string[] = [];
  for (const { row, test, file, search, replace } of MUTATIONS) {
    const tests = names(await read(test.spelled ?? test.file));
    if (!tests.some((name) => name.test(test.name))) {
      wrong.push(`${row}: no such test in ${test.file}: ${test.name}`);
    }
    const count = (await read(file)).split(search).length - 1;
    if (count !== 1) wrong.push(`${row}: ${count} times in ${file}: ${search}`);
    assert.notEqual(search, replace, row);
    assert.match(file, /^(?:src|systemd|main\.ts)/, row);
  }
  assert.deepEqual(wrong, [], "whoever changes such a line mends tests/mutations/ with it");
});

/** Strings of a source as patterns of a name's end: what a template puts in may be anything. */
function names(source: string): RegExp[] {
  return Array.from(source.matchAll(/(["'`])((?:\\.|(?!\1).)+)\1/g), ([, , text = ""]) => {
    const fixed = text.replaceAll("\\", "").split(/\$\{[^}]*\}/);
    return new RegExp(
      fixed.join("").length < NAME_MIN ? "$^" : `${fixed.map(escaped).join(".+")}$`,
    );
  });
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
