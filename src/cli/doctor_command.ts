import { type CheckResult, examine, failed, type Finding, ok, warning } from "../mount/doctor.ts";
import { doctorChecks } from "../mount/doctor_checks.ts";
import type { Config } from "../mount/config.ts";
import { type ConfigSources, type Flags, resolveConfig } from "./config.ts";
import { configSources, flagsOf } from "./config_inputs.ts";
import type { CliContext } from "./context.ts";
import { oneLine, type Output, printJson } from "./output.ts";
import type { ParsedCommand } from "./parser.ts";
import { UsageError } from "./usage_error.ts";

/** `musicfs doctor`: one line a check; exit code 1 if one failed. */
export async function runDoctor(
  parsed: ParsedCommand<"doctor">,
  context: CliContext,
): Promise<number> {
  const { stdout, clock, env } = context;
  const { config, configured } = lookAtConfig(flagsOf(parsed), context);
  const checks = await examine(await doctorChecks({ config, configured, env, clock }), { clock });
  const count = (state: CheckResult["state"]): number =>
    checks.filter((check) => check.state === state).length;
  const failures = count("failed");
  if (parsed.json) printJson(stdout, { failed: failures, warnings: count("warning"), checks });
  else for (const check of checks) printCheck(stdout, check);
  return failures === 0 ? 0 : 1;
}

function printCheck(stdout: Output, { name, state, found, remedy }: CheckResult): void {
  stdout.write(`${state.padEnd(7)}  ${oneLine(name)}: ${oneLine(found)}\n`);
  if (remedy !== null) stdout.write(`${" ".repeat(9)}${oneLine(remedy)}\n`);
}

/**
 * The configuration, and what is to be said of it. One that is wrong leaves the flags and the
 * defaults. Throws {@linkcode UsageError} if those are what is wrong.
 */
function lookAtConfig(
  flags: Flags,
  context: CliContext,
): { config: Config; configured: () => Promise<Finding> } {
  const sources = configSources(context);
  const plain: ConfigSources = {
    ...sources,
    env: (name) => name.startsWith("MUSICFS_") ? undefined : sources.env(name),
    readFile: () => undefined,
  };
  const typed = resolveConfig({ ...flags, configFile: undefined }, plain);
  const files: string[] = [];
  const readFile = (path: string): string | undefined => {
    const text = sources.readFile(path);
    if (text !== undefined) files.push(path);
    return text;
  };
  try {
    const config = resolveConfig(flags, { ...sources, readFile });
    return { config, configured: () => lookAtFiles(config, { files, context }) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const wrong = failed(error.message, "mend it: nothing mounts until then");
    return { config: typed, configured: () => Promise.resolve(wrong) };
  }
}

/** Whether others can read what may hold passwords, tokens or keys. */
async function lookAtFiles(
  config: Config,
  { files, context }: { files: readonly string[]; context: CliContext },
): Promise<Finding> {
  const hasSecrets = config.hooks.some((hook) => "url" in hook);
  const secrets = [
    ...hasSecrets ? files : [],
    ...config.origins.flatMap(({ url }) => secretFilesOf(url, context)),
  ];
  const open: string[] = [];
  for (const path of secrets) if (await isOpenToOthers(path)) open.push(path);
  if (open.length > 0) {
    return warning(`others can read ${open.join(", ")}`, `chmod 600 ${open.join(" ")}`);
  }
  return ok(files.length > 0 ? files.join(", ") : "no file; flags, environment and defaults");
}

async function isOpenToOthers(path: string): Promise<boolean> {
  try {
    return ((await Deno.stat(path)).mode ?? 0) % 0o100 !== 0;
  } catch (error) {
    if (error instanceof Error) return false; // Whoever needs it will say so.
    throw error;
  }
}

/** The key and the password that an sftp:// URL names, and the keys of an s3:// one. */
function secretFilesOf(url: string, { env, home }: CliContext): string[] {
  if (/^s3:/i.test(url)) {
    return [env("AWS_SHARED_CREDENTIALS_FILE") || `${home}/.aws/credentials`];
  }
  // A `+` in a query is a plus, which URLSearchParams would take for a space.
  const query = /^sftp:/i.test(url) ? URL.parse(url)?.search.replaceAll("+", "%2B") : undefined;
  const options = new URLSearchParams(query);
  return ["identity_file", "password_file"].map((key) =>
    (options.get(key) ?? "").replace(/^~(?=\/)/, home)
  ).filter((path) => path.startsWith("/"));
}
