/**
 * `deno task test`: installs what is missing, runs every test, and ends with one line that sums up.
 *
 *   run_tests.ts [--only unit|e2e|network] [--long] [--seed N] [FILE ...]
 *
 * With files, only these of the group are run.
 *
 * Exit code 1 if a test failed, or was skipped that should not have been.
 */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { installMissing } from "./bootstrap.ts";
import { composeServers } from "./servers/compose.ts";
import { installServers } from "./servers/install.ts";
import { countReport, type Counts } from "./junit_report.ts";
import type { Skip } from "./requirements.ts";

const PROJECT_DIR = new URL("../..", import.meta.url).pathname;

/** Folders whose tests start daemons; `deno task ok` leaves them out. */
const DAEMON_TESTS = ["tests/e2e", "tests/simulation"] as const;

/** Tests with real servers: MinIO, sshd, Toxiproxy. */
const NETWORK_TESTS = ["tests/network"] as const;

/** Each group is one `deno test`; the leak checks of deno.json hold for all. */
const GROUPS = {
  // No folders are named: Deno 2.9.6 forgets what to ignore in all but the first of them.
  unit: ["--doc", `--ignore=${[...DAEMON_TESTS, ...NETWORK_TESTS, "tests/bench"].join(",")}`],
  e2e: [...DAEMON_TESTS],
  network: [...NETWORK_TESTS],
} as const;

type Group = keyof typeof GROUPS;

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const { values, positionals: files } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      only: { type: "string" },
      long: { type: "boolean", default: false },
      seed: { type: "string" },
    },
  });
  if (!(await installMissing(say))) return 1;
  const dir = await Deno.makeTempDir({ prefix: "musicfs-run-tests-" });
  try {
    const groups = groupsFor(values.only, values.long);
    // Beside the other groups, because the first build takes minutes. What it could not build is
    // missed by the tests that need it.
    const running = groups.includes("network") ? await composeServers() : {};
    const needsServers = groups.includes("network") && Object.keys(running).length === 0;
    const servers = needsServers ? installServers(say) : undefined;
    const env = {
      ...running,
      MUSICFS_SKIPS_FILE: join(dir, "skips"),
      ...(values.long ? { MUSICFS_LONG: "1" } : {}),
      ...(values.seed === undefined ? {} : { MUSICFS_SEED: values.seed }),
    };
    const counts: Counts[] = [];
    for (const group of groups) {
      if (group === "network") await servers;
      counts.push(await runGroup(group, { dir, env, files }));
    }
    return summed(counts, await readSkips(env.MUSICFS_SKIPS_FILE));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function groupsFor(only: string | undefined, isLong: boolean): readonly Group[] {
  if (only === "unit" || only === "e2e" || only === "network") return [only];
  if (only !== undefined) throw new Error(`--only is unit, e2e or network, not ${only}`);
  return isLong ? ["e2e", "network"] : ["unit", "e2e", "network"];
}

/** Runs one `deno test`, with its own output shown, and reads what it counted. */
async function runGroup(
  group: Group,
  { dir, env, files }: { dir: string; env: Record<string, string>; files: readonly string[] },
): Promise<Counts> {
  const report = join(dir, `${group}.xml`);
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", `--junit-path=${report}`, ...files.length > 0 ? files : GROUPS[group]],
    cwd: PROJECT_DIR,
    env,
  }).spawn().status;
  const counts = countReport(await readText(report));
  if (code !== 0 && counts.failed.length === 0) {
    counts.failed.push({ name: group, reason: `deno test ended with ${code}, and no test failed` });
  }
  return counts;
}

async function readSkips(path: string): Promise<Skip[]> {
  const text = await readText(path);
  return text.split("\n").filter((line) => line !== "").map((line): Skip => JSON.parse(line));
}

async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** Prints the sum; the exit code. A skip nobody expected is no pass. */
function summed(counts: readonly Counts[], skips: readonly Skip[]): number {
  const passed = counts.reduce((sum, count) => sum + count.passed, 0);
  const failed = counts.flatMap((count) => count.failed);
  const expected = new Set(skips.filter((skip) => skip.expected).map((skip) => skip.name));
  const unexpected = skips.filter((skip) => !skip.expected).map((skip) => skip.name);
  const skipped = counts.flatMap((count) => count.skipped);
  unexpected.push(...skipped.filter((name) => !expected.has(name) && !unexpected.includes(name)));
  if (skipped.length > 0) say(`${skipped.length} skipped, ${unexpected.length} unexpectedly\n`);
  for (const name of unexpected) say(`SKIPPED, and should not have been: ${name}\n`);
  for (const { name, reason } of failed) {
    say(`FAILED: ${name}\n${reason.replaceAll(/^/gm, "  ")}\n`);
  }
  say(`${passed} passed, ${failed.length} failed\n`);
  return failed.length === 0 && passed > 0 && unexpected.length === 0 ? 0 : 1;
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
