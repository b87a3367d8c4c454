/** What is said in more than one place, and must be the same in all. */

import assert from "node:assert/strict";

const read = (path: string): Promise<string> =>
  Deno.readTextFile(new URL(`../${path}`, import.meta.url));

Deno.test("README.md and .deno-version name the same Deno, and it is this one", async () => {
  const pinned = (await read(".deno-version")).trim();
  const named = [...(await read("README.md")).matchAll(/deno@([0-9.]+[0-9])/g)].map(([, v]) => v);
  assert.ok(named.length >= 2);
  assert.deepEqual(new Set(named), new Set([pinned]));
  assert.equal(Deno.version.deno, pinned);
});

Deno.test("every task that README.md names exists", async () => {
  const { tasks } = JSON.parse(await read("deno.json"));
  const named = [...(await read("README.md")).matchAll(/(?:deno|deno@[0-9.]+) task ([a-z:0-9]+)/g)];
  assert.ok(named.length > 4);
  for (const [, task = ""] of named) assert.ok(tasks[task], `no task ${task}`);
});

Deno.test("no page of the project links to a page that is not there", async () => {
  const pages = ["README.md", ...await pagesIn("docs"), ...await pagesIn("docs/decisions")];
  assert.ok(pages.length > 5);
  for (const page of pages) {
    for (const [, link = ""] of (await read(page)).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      const target = new URL(link, new URL(`../${page}`, import.meta.url));
      assert.ok(await exists(target), `${page} links to ${link}`);
    }
  }
});

async function pagesIn(folder: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(new URL(`../${folder}`, import.meta.url)));
  return entries.filter(({ name }) => name.endsWith(".md")).map(({ name }) => `${folder}/${name}`);
}

async function exists(url: URL): Promise<boolean> {
  try {
    await Deno.stat(url);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
