import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { output, run } from "./process.ts";

/**
 * Path of the compiled `programs/<name>.c`; compiled when its text has changed. Needs gcc.
 *
 * The programs are in C because Deno cannot make their system calls, and because a process that
 * waits on a mount that hangs must not be the test.
 */
export async function cProgram(name: string): Promise<string> {
  const source = new URL(`programs/${name}.c`, import.meta.url).pathname;
  const digest = await digestOf(source);
  const folder = join(Deno.env.get("TMPDIR") ?? "/tmp", `musicfs-programs-${Deno.uid()}`);
  const path = join(folder, `${name}-${digest.slice(0, 16)}`);
  if ((await run("test", ["-x", path])).code === 0) return path;
  await Deno.mkdir(folder, { recursive: true, mode: 0o755 });
  const unfinished = await Deno.makeTempFile({ dir: folder });
  await output("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", unfinished, source]);
  await Deno.chmod(unfinished, 0o755);
  await Deno.rename(unfinished, path);
  return path;
}

/** Of the source and of the headers beside it that it includes. */
async function digestOf(source: string): Promise<string> {
  const text = await Deno.readTextFile(source);
  const digest = createHash("sha256").update(text);
  for (const [, header = ""] of text.matchAll(/^#include "([^"]+)"/gm)) {
    digest.update(await Deno.readTextFile(join(dirname(source), header)));
  }
  return digest.digest("hex");
}

/** The names below `root` as `compare_reads` takes them: "f" or "d", the path, NUL. */
export async function namesForCompareReads(root: string): Promise<string> {
  return await output("find", [
    root,
    ...["(", "-type", "f", "-printf", "f%P\\0", ")", "-o"],
    ...["(", "-type", "d", "-printf", "d%P\\0", ")"],
  ]);
}
