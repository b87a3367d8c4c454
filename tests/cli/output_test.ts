import fc from "fast-check";
import assert from "node:assert/strict";
import { type Output, printable, printRows, startProgress } from "../../src/cli/output.ts";

function terminal(columns: number, isTerminal = true): { output: Output; text: () => string } {
  let text = "";
  const write = (part: string): void => {
    text += part;
  };
  return { output: { isTerminal, columns, write }, text: () => text };
}

Deno.test("startProgress() shows words until the total is known, then a bar, then nothing", async () => {
  const { output, text } = terminal(80);
  const progress = await startProgress(output);
  progress.update({ done: 0, total: 0, text: "12 files" });
  assert.match(text(), /12 files/);
  assert.doesNotMatch(text(), /#|NaN|undefined/);
  progress.stop();
  const before = text().length;
  progress.update({ done: 5, total: 10, text: "5 chunks" });
  progress.stop();
  assert.match(text().slice(before), /############------------ 5 chunks/);
  // deno-lint-ignore no-control-regex
  assert.match(text(), /\x1b\[2?K?[^#]*$/);
});

Deno.test("startProgress() is silent without a terminal, and on one of no width", async () => {
  for (const { output, text } of [terminal(80, false), terminal(0)]) {
    const progress = await startProgress(output);
    progress.update({ done: 1, total: 2, text: "half" });
    progress.stop();
    assert.equal(text(), "");
  }
});

Deno.test("printable() keeps names apart and on one line", () => {
  assert.equal(printable("Ünïcode 🎵 'x'"), "Ünïcode 🎵 'x'");
  assert.equal(printable("a\nb\\n\x1b[2J"), "a\\nb\\\\n\\x1b[2J");
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (a, b) => {
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(printable(a), /[\x00-\x1f\x7f]/);
    assert.equal(printable(a) === printable(b), a === b);
  }));
});

Deno.test("printRows() aligns what it shows and leaves out what has no value", () => {
  const { output, text } = terminal(80);
  printRows(output, [["a", "1"], ["long name", "2"], ["much longer name", undefined]]);
  assert.equal(text(), "a          1\nlong name  2\n");
});
