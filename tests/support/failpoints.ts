/** The failpoints of the code, as the code names them: a test of all of them cannot forget one. */

const SOURCES = new URL("../../src/", import.meta.url);

/** Names of all failpoints in `src/` that begin with `prefix`, in order. */
export async function failpointsIn(prefix: string): Promise<string[]> {
  const names = new Set<string>();
  for await (const source of sourcesBelow(SOURCES)) {
    const text = await Deno.readTextFile(source);
    for (const [, name = ""] of text.matchAll(/\bfailpoint\(\s*"([^"]+)"/g)) names.add(name);
  }
  return [...names].filter((name) => name.startsWith(prefix)).sort();
}

async function* sourcesBelow(folder: URL): AsyncIterable<URL> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sourcesBelow(new URL(`${name}/`, folder));
    else if (name.endsWith(".ts")) yield new URL(name, folder);
  }
}
