import { homedir } from "node:os";
import { systemClock } from "./src/base/clock.ts";
import { enableFailpoints } from "./src/base/failpoint.ts";
import type { Output } from "./src/cli/output.ts";
import { run } from "./src/cli/run.ts";

/** A stream of this process, written synchronously: nothing is lost when the process ends. */
function outputOf(stream: typeof Deno.stdout): Output {
  const encoder = new TextEncoder();
  const isTerminal = stream.isTerminal();
  let isGone = false;
  return {
    isTerminal,
    get isGone() {
      return isGone;
    },
    columns: isTerminal ? columnsOf() : 0,
    write: (text) => {
      try {
        const bytes = encoder.encode(text);
        for (let done = 0; done < bytes.length;) done += stream.writeSync(bytes.subarray(done));
      } catch (error) {
        // Whoever read this has gone away, as `head` does.
        if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
        isGone = true;
      }
    },
  };
}

function columnsOf(): number {
  try {
    return Deno.consoleSize().columns;
  } catch (error) {
    if (error instanceof Error) return 0;
    throw error;
  }
}

/** `/` if the folder this was started in has been removed. */
function currentFolder(): string {
  try {
    return Deno.cwd();
  } catch (error) {
    if (error instanceof Error) return "/";
    throw error;
  }
}

const failpoints = Deno.env.get("MUSICFS_FAILPOINTS");
if (failpoints) {
  const { write } = outputOf(Deno.stderr);
  enableFailpoints(failpoints, { random: Math.random, print: (line) => write(`${line}\n`) });
}
const code = await run(Deno.args, {
  env: (name) => Deno.env.get(name),
  cwd: currentFolder(),
  home: Deno.env.get("HOME") || homedir(),
  stdout: outputOf(Deno.stdout),
  stderr: outputOf(Deno.stderr),
  clock: systemClock,
  random: Math.random,
  runDaemon: async (config, options) => {
    const { openAhead } = await import("./src/mount/open_ahead.ts");
    const { raw, begun } = openAhead(config, options);
    await begun;
    const { runDaemon } = await import("./src/mount/daemon.ts");
    return await runDaemon(config, { ...options, raw });
  },
  openCache: async (config, options) => {
    const { openCache } = await import("./src/mount/maintenance.ts");
    return await openCache(config, options);
  },
});
// Not only setting the code: a probe that was left behind must not keep this process.
Deno.exit(code);
