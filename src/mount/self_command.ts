import { fileURLToPath } from "node:url";

/**
 * The words that start this same program again, before its own arguments.
 *
 * The compiled executable is its own command; from the sources it is Deno with `main.ts`, with the
 * configuration named because Deno would look for it from the working folder.
 */
export function selfCommand(): readonly [program: string, ...words: string[]] {
  if (Deno.build.standalone) return [Deno.execPath()];
  const file = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
  // Cached: what runs has been loaded, and nothing is asked of a registry.
  const words = ["run", "-A", "--v8-flags=--max-semi-space-size=2", "--cached-only"];
  return [Deno.execPath(), ...words, "--config", file("deno.json"), file("main.ts")];
}
