import { output, shell } from "./process.ts";

/** Kind, size, time in ns, path and target of everything below a folder, itself included. */
export async function listTree(root: string): Promise<string> {
  const line = String
    .raw`find . -printf '%y %s %T@ %P %l\n' | sed 's/^d [0-9]*/d/' | LC_ALL=C sort`;
  return await shell(line, { cwd: root });
}

/**
 * Waits until the mount shows exactly what its origin holds, which nobody changes any more: names,
 * kinds, sizes, times, links, then every byte. The waiting time in ms, up to the first look that
 * found them the same; that look itself is not counted.
 */
export async function sameTree(
  origin: string,
  mount: string,
  { limitMs = 60_000 }: { limitMs?: number } = {},
): Promise<number> {
  const began = performance.now();
  const wanted = await listTree(origin);
  for (;;) {
    const asked = performance.now();
    // Folders that are on their way out make `find` complain.
    const shown = await listTree(mount).catch(() => "");
    if (shown === wanted) {
      await output("diff", ["-r", "--no-dereference", origin, mount], { limitMs: 300_000 });
      return Math.round(asked - began);
    }
    if (asked - began > limitMs) {
      throw new Error(`Not the same after ${limitMs} ms:\n${difference(wanted, shown)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

function difference(wanted: string, shown: string): string {
  const [a, b] = [new Set(wanted.split("\n")), new Set(shown.split("\n"))];
  const missing = [...a].filter((line) => !b.has(line)).map((line) => `- ${line}`);
  const surplus = [...b].filter((line) => !a.has(line)).map((line) => `+ ${line}`);
  return [...missing.slice(0, 20), ...surplus.slice(0, 20)].join("\n");
}
