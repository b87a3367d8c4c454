/** Brings the Debian programs that the tests need, where that is allowed; else says what would. */

import { missingPackages } from "./requirements.ts";

/**
 * Installs what is missing. True if nothing is missing now; otherwise it has said which line, run by
 * an administrator, installs it.
 */
export async function installMissing(say: (text: string) => void): Promise<boolean> {
  const packages = missingPackages();
  if (packages.length === 0) return true;
  const install = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  if (Deno.uid() !== 0 || !(await isDebian())) {
    say(`The tests need programs that this machine lacks. This installs them:\n`);
    say(`  sudo apt-get update && sudo ${install}\n`);
    return false;
  }
  say(`Installing ${packages.join(" ")}\n`);
  await apt(["update", "-qq"]);
  await apt(install.split(" ").slice(1));
  const left = missingPackages();
  if (left.length > 0) say(`Still missing after "${install}": ${left.join(" ")}\n`);
  return left.length === 0;
}

async function apt(args: readonly string[]): Promise<void> {
  const { code } = await new Deno.Command("apt-get", {
    args: [...args],
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdin: "null",
    stdout: "null",
  }).spawn().status;
  if (code !== 0) throw new Error(`apt-get ${args.join(" ")} ended with ${code}`);
}

async function isDebian(): Promise<boolean> {
  try {
    return /^ID(_LIKE)?=.*debian/m.test(await Deno.readTextFile("/etc/os-release"));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
