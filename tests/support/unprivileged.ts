/** For tests as a user without privileges, started by root. */

import { join } from "node:path";
import { musicfsCommand } from "./daemon.ts";
import { output } from "./process.ts";

/** Debian's "nobody". */
export const NOBODY = 65534;

/** Put before a command, it runs as nobody. Needs `setpriv`. */
export const AS_NOBODY: readonly string[] = [
  "/usr/bin/setpriv",
  `--reuid=${NOBODY}`,
  `--regid=${NOBODY}`,
  "--clear-groups",
];

const PROJECT_DIR = new URL("../..", import.meta.url).pathname;

/** Runs a program as nobody; it must succeed. */
export async function asNobody(program: string, args: readonly string[]): Promise<string> {
  const [setpriv = "", ...words] = AS_NOBODY;
  return await output(setpriv, [...words, program, ...args]);
}

/** Opens `/dev/fuse` to all users, as udev does on any desktop, and closes it again. */
export async function fuseForEverybody(): Promise<AsyncDisposable> {
  const mode = ((await Deno.stat("/dev/fuse")).mode ?? 0o600) & 0o777;
  await Deno.chmod("/dev/fuse", 0o666);
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      await Deno.chmod("/dev/fuse", mode);
    },
  };
}

/**
 * The words that start musicfs from a copy in `dir` that everybody may read: root's home, with Deno
 * and perhaps the project in it, is closed to others.
 */
export async function readableCommand(dir: string): Promise<string[]> {
  const [program] = musicfsCommand();
  const bin = join(dir, "bin");
  await Deno.mkdir(bin);
  const executable = join(bin, "executable");
  await output("cp", ["--reflink=auto", program, executable]);
  await Deno.chmod(executable, 0o755);
  if (Deno.env.get("MUSICFS_BIN")) return [executable];
  for (const name of ["main.ts", "src", "deno.json", "deno.lock", "package.json", "node_modules"]) {
    await output("cp", ["-a", join(PROJECT_DIR, name), bin]);
  }
  // Else Deno would ask the registry about every package, having no cache of its own there.
  const config = join(bin, "deno.json");
  const text = await Deno.readTextFile(config);
  await Deno.writeTextFile(config, text.replace(/("nodeModulesDir": )"auto"/, '$1"manual"'));
  await output("chmod", ["-R", "a+rX", bin]);
  return [executable, "run", "-A", "--config", config, join(bin, "main.ts")];
}
