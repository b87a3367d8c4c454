/** What a cache's index says of the tree, read without a daemon. */

import { openXxh64 } from "../../src/chunking/xxh64.ts";
import { Namespace } from "../../src/library/namespace.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import { openEnvironment } from "../../src/store/lmdb.ts";

/** Every file and folder of the tree as a line `kind size seconds path`, sorted by code unit. */
export async function treeInIndex(cacheDir: string): Promise<string[]> {
  await using index = openEnvironment({
    dir: `${cacheDir}/index`,
    shared: new SharedArrayBuffer(4),
    hash: await openXxh64(),
    writable: false,
  });
  const namespace = new Namespace(index);
  const lines: string[] = [];
  const walk = (folder: number, prefix: string): void => {
    for (const { id, kind, name, size, mtimeNs } of namespace.children(folder, 0)) {
      const path = prefix + name;
      lines.push(lineOf({ kind, size, mtimeNs, path }));
      if (kind === "folder") walk(id, `${path}/`);
    }
  };
  walk(ROOT_ID, "");
  return lines.sort();
}

/** The same of a folder of this machine. */
export async function treeInFolder(root: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("find", {
    args: [root, "-mindepth", "1", "-printf", "%y %s %T@ %P\\0"],
  }).output();
  const lines = new TextDecoder().decode(stdout).split("\0").filter((line) => line !== "");
  return lines.map((line) => {
    const [type = "", size = "", time = "", ...path] = line.split(" ");
    const kind = type === "d" ? "folder" : type === "l" ? "symlink" : "file";
    const [seconds = "", fraction = ""] = time.split(".");
    const mtimeNs = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9));
    const isFile = kind === "file";
    return lineOf({ kind, size: isFile ? Number(size) : 0, mtimeNs, path: path.join(" ") });
  }).sort();
}

function lineOf(
  { kind, size, mtimeNs, path }: { kind: string; size: number; mtimeNs: bigint; path: string },
): string {
  return `${kind} ${size} ${mtimeNs} ${path}`;
}
