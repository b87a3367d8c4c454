/** What docs/ says of the code that a machine can check. */

import assert from "node:assert/strict";
import { FileSchema } from "../src/cli/settings.ts";
import { nodeIdOf } from "../src/library/node_id.ts";
import { DaemonEventSchema } from "../src/mount/daemon_events.ts";
import { at, never, openLibrary } from "./library/library_fixture.ts";
import { MemoryOrigin } from "./support/memory_origin.ts";

const read = (path: string): Promise<string> =>
  Deno.readTextFile(new URL(`../${path}`, import.meta.url));

Deno.test("docs/semantics.md tells which origins a file of several is read from", async () => {
  const page = await read("docs/semantics.md");
  const lines = [...page.matchAll(/^(\S.*?) {2,}((?:\w+ "\w+" *)+?) {2,}read from (.+)$/gm)];
  assert.equal(lines.length, 3);
  const origins = [new MemoryOrigin("nas"), new MemoryOrigin("bucket")];
  for (const [, path = "", held = ""] of lines) {
    for (const [, name, text] of held.matchAll(/(\w+) "(\w+)"/g)) {
      const origin = origins.find((origin) => origin.name === name);
      assert(origin, `no origin ${name}`);
      origin.put(path, new TextEncoder().encode(text));
    }
  }
  const { library, clock } = openLibrary(origins);
  const stop = new AbortController();
  await library.scan(never());
  let isProven = false;
  const proving = library.prove({
    origins,
    digest: (bytes) => bytes.slice(),
    onProgress: ({ left }) => isProven = left === 0,
    signal: stop.signal,
  });
  const ended = assert.rejects(proving);
  while (!isProven) await clock.settle();
  stop.abort();
  await ended;
  for (const [, path = "", , names = ""] of lines) {
    const { id, sequence } = at(library, path);
    const sources = library.namespace.version(nodeIdOf(id, sequence))?.sources ?? [];
    assert.equal(sources.map(({ origin }) => origin).join(", "), names, path);
  }
  await library[Symbol.asyncDispose]();
});

Deno.test("docs/architecture.md has the table of imports that deno lint holds", async () => {
  const page = await read("docs/architecture.md");
  const rules = /const MAY_IMPORT = \{\n([^}]+)\};/.exec(page)?.[1] ?? "";
  assert(rules.split("\n").length > 10);
  assert((await read("tests/support/lint_plugin.ts")).includes(rules));
});

Deno.test("docs/operations.md lists every event with its fields, and every option of a hook", async () => {
  const page = await read("docs/operations.md");
  const [, events = ""] = /^## Events\n([^#]+)/m.exec(page) ?? [];
  const listed = [...events.matchAll(/^\| `(\w+)` +\| ([^|]*)\|/gm)].map((
    [, name, fields = ""],
  ) => [
    name,
    ["event", "time_ms", ...Array.from(fields.matchAll(/`(\w+)`/g), ([, field]) => field)],
  ]);
  const told = DaemonEventSchema.options.map(({ entries }) => [
    entries.event.literal,
    Object.keys(entries),
  ]);
  const sorted = (rows: unknown[][]): unknown[][] =>
    rows.map(([name, fields]) => [name, [...fields as string[]].sort()]);
  assert.deepEqual(sorted(listed), sorted(told));
  const [, hooks = ""] = /^## Hooks\n([^#]+)/m.exec(page) ?? [];
  const keys = Array.from(hooks.matchAll(/^\| `(\w+)` /gm), ([, key]) => key);
  const [schema] = FileSchema.entries.hook.wrapped.item.pipe;
  assert.deepEqual(keys, Object.keys(schema.entries));
});

Deno.test("docs/operations.md lists every figure that is served, and what doctor looks at", async () => {
  const page = await read("docs/operations.md");
  const [, figures = ""] = /^### Figures for Prometheus\n([^#]+)/m.exec(page) ?? [];
  const listed = Array.from(figures.matchAll(/^\| `(\w+)` /gm), ([, name]) => name);
  const source = await read("src/mount/metrics.ts");
  const served = Array.from(source.matchAll(/"((?:musicfs|process)_\w+)"/g), ([, name]) => name);
  assert(served.length > 30);
  assert.deepEqual(listed, served);
  const [, doctor = ""] = /^### doctor\n([^#]+)/m.exec(page) ?? [];
  const checks = await read("src/mount/doctor_checks.ts");
  for (const [, name = ""] of checks.matchAll(/\bname: ["`]([a-z_0-9 ]*[a-z_0-9])/g)) {
    assert(doctor.includes(`\`${name}`), name);
  }
});

Deno.test("docs/ names no source file that is not there", async () => {
  const architecture = await read("docs/architecture.md");
  const named = new Set<string>();
  for (const [, folder = "", files = ""] of architecture.matchAll(/^### (src\/\w+)\n([^#]+)/gm)) {
    for (const [, file = ""] of files.matchAll(/`(\w+\.ts)`/g)) named.add(`${folder}/${file}`);
  }
  assert(named.size > 100);
  for (const page of await pagesIn("docs")) {
    for (const [path] of (await read(page)).matchAll(/\b(?:src|tests)\/[\w/]+\.\w+\b/g)) {
      named.add(path);
    }
  }
  for (const path of named) {
    await Deno.stat(new URL(`../${path}`, import.meta.url));
  }
});

async function pagesIn(folder: string): Promise<string[]> {
  const pages: string[] = [];
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(`../${folder}`, import.meta.url))
  ) {
    if (isDirectory) pages.push(...await pagesIn(`${folder}/${name}`));
    else pages.push(`${folder}/${name}`);
  }
  return pages;
}
