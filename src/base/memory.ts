import v8 from "node:v8";
import vm from "node:vm";

/**
 * Gives memory back that is no longer used: V8 collects when a program allocates, never because it
 * has gone quiet, so a daemon would keep the garbage of its last scan for good.
 *
 * Takes 10 to 50 ms of this thread. Measured after a scan of 100,000 files (Deno 2.9.6): 150 MiB of
 * anonymous memory before.
 *
 * @returns whether there was a way to
 */
export function collectGarbage(): boolean {
  collect ??= findCollector();
  collect();
  return collect !== nothing;
}

let collect: (() => void) | undefined;

const nothing = (): void => {};

function findCollector(): () => void {
  const known: unknown = Reflect.get(globalThis, "gc");
  if (typeof known === "function") return () => void known();
  try {
    v8.setFlagsFromString("--expose-gc");
    // What is thrown in there is no `Error` of this realm: a runtime without the flag throws one,
    // and everything works as well, in more memory.
    const found: unknown = vm.runInNewContext("typeof gc === 'function' ? gc : undefined");
    return typeof found === "function" ? () => void found() : nothing;
  } catch (error) {
    if (error instanceof Error) return nothing;
    throw error;
  }
}
