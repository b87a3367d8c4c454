import { systemClock } from "./src/base/clock.ts";
import type { CliContext } from "./src/cli/context.ts";
import type { Output } from "./src/cli/output.ts";

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

const env = (name: string): string | undefined => Deno.env.get(name);

/** What a process is that only holds a mount for another: nothing else is loaded for it. */
async function supervising(): Promise<number | undefined> {
  const [name, ...words] = Deno.args;
  if (name !== "mount" && name !== "__supervise") return undefined;
  const parent = await import("./src/mount/supervisor.ts");
  const { write } = outputOf(Deno.stderr);
  const options = { clock: systemClock, print: (line: string) => write(`${line}\n`) };
  if (name === "mount") {
    if (!parent.wantsSupervisor(Deno.args, { env, pid: Deno.pid })) return undefined;
    return await parent.supervise({ ...options, args: Deno.args });
  }
  const [socket, pid, ...args] = words;
  const daemon = { socket: Number(socket), pid: Number(pid) };
  return await parent.superviseRunning({ ...options, ...daemon, args });
}

/** Does what `Deno.args` say, in this process. */
async function here(): Promise<number> {
  const failpoints = env("MUSICFS_FAILPOINTS");
  if (failpoints) {
    const { enableFailpoints } = await import("./src/base/failpoint.ts");
    const { write } = outputOf(Deno.stderr);
    enableFailpoints(failpoints, { random: Math.random, print: (line) => write(`${line}\n`) });
  }
  const { homedir } = await import("node:os");
  const { run } = await import("./src/cli/run.ts");
  return await run(Deno.args, {
    env,
    cwd: currentFolder(),
    home: env("HOME") || homedir(),
    stdout: outputOf(Deno.stdout),
    stderr: outputOf(Deno.stderr),
    clock: systemClock,
    random: Math.random,
    runDaemon,
    openCache: async (config, options) => {
      const { openCache } = await import("./src/mount/maintenance.ts");
      return await openCache(config, options);
    },
  });
}

const runDaemon: CliContext["runDaemon"] = async (config, options) => {
  const { startDaemon } = await import("./src/mount/start.ts");
  return await startDaemon(config, { ...options, args: Deno.args });
};

// mount(8) takes it from its helpers. Without one, Deno starts no other program.
if (!env("PATH")) {
  Deno.env.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

// Not only setting the code: a probe that was left behind must not keep this process.
Deno.exit(await supervising() ?? await here());
