import { MusicfsError } from "../base/errors.ts";
import type { LogLevel } from "../base/log_sinks.ts";
import type { Config } from "../mount/config.ts";
import type { CliContext } from "./context.ts";
import type { Flags } from "./config.ts";
import type { Parsed } from "./parser.ts";
import { UsageError } from "./usage_error.ts";

/** Exit codes. Source: the contract in docs/. */
const DONE = 0;
const FAILED = 1;
const USAGE = 2;

/**
 * Does what `argv` says and gives the exit code. Errors end here, as one line on stderr.
 *
 * What systemd and scripts call often is told apart before the option parser is loaded.
 */
export async function run(argv: readonly string[], context: CliContext): Promise<number> {
  try {
    return await runQuick(argv, context) ?? await runParsed(argv, context);
  } catch (error) {
    return await report(error, context);
  }
}

/** The commands that start at once; undefined for all others, and for what must be judged. */
async function runQuick(
  argv: readonly string[],
  context: CliContext,
): Promise<number | undefined> {
  const [name, ...words] = argv;
  switch (name) {
    case "__statfs": {
      const { runStatfsProbe } = await import("../mount/statfs_probe.ts");
      const [path = "", uid, gid] = words;
      const owner = uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid ?? uid) };
      runStatfsProbe(path, { owner, write: (text) => context.stdout.write(text) });
      return DONE;
    }
    case "__probe-index": {
      const { runIndexProbe } = await import("../store/index_probe.ts");
      const { code, line } = await runIndexProbe(words[0] ?? "");
      context.stdout.write(`${line}\n`);
      return code;
    }
    case "--version":
    case "version": {
      if (words.length > 1 || (words.length === 1 && words[0] !== "--json")) return undefined;
      const { runVersion } = await import("./version_command.ts");
      runVersion(words.length === 1, context.stdout);
      return DONE;
    }
    case "check-mount": {
      const { quickCheckMountArguments, runCheckMount } = await import("./check_mount_command.ts");
      const quick = quickCheckMountArguments(words);
      return quick && await runCheckMount(quick, context);
    }
    case undefined:
      throw new UsageError('No command is given; "musicfs --help" lists them', { subject: "" });
    default:
      return undefined;
  }
}

async function runParsed(argv: readonly string[], context: CliContext): Promise<number> {
  const { parseArguments } = await import("./parse_arguments.ts");
  const parsed = parseArguments(argv, context.stdout);
  if (parsed === undefined) return DONE;
  switch (parsed.command) {
    case "version": {
      const { runVersion } = await import("./version_command.ts");
      runVersion(parsed.json, context.stdout);
      return DONE;
    }
    case "check-mount": {
      const { runCheckMount } = await import("./check_mount_command.ts");
      return await runCheckMount({ ...parsed, mountpoint: parsed.mountpoint }, context);
    }
    case "unmount": {
      const { runUnmount } = await import("./unmount_command.ts");
      const { mountpoint, cache_dir: cacheDir } = parsed;
      return await runUnmount({ mountpoint, cacheDir }, context);
    }
    case "doctor": {
      // Looks at the configuration itself: one that is wrong is among what it tells.
      const { runDoctor } = await import("./doctor_command.ts");
      return await runDoctor(parsed, context);
    }
    default:
      return await runConfigured(parsed, context);
  }
}

/** The commands that need the configuration. */
async function runConfigured(
  parsed: Exclude<Parsed, { command: "version" | "check-mount" | "unmount" | "doctor" }>,
  context: CliContext,
): Promise<number> {
  const { configSources, flagsOf } = await import("./config_inputs.ts");
  const { resolveConfig } = await import("./config.ts");
  const { openLog } = await import("../base/log_sinks.ts");
  const flags: Flags = flagsOf(parsed);
  const resolve = (): Config => resolveConfig(flags, configSources(context));
  const config = resolve();
  const decoder = new TextDecoder();
  const levelOf = ({ logLevel }: Config): LogLevel =>
    logLevel ?? (parsed.command === "mount" ? "info" : "error");
  let level = levelOf(config);
  const log = openLog({
    level: () => level,
    format: config.logFormat,
    clock: context.clock,
    write: (line) => context.stderr.write(decoder.decode(line)),
  });
  if (parsed.command === "mount") {
    const { runMount } = await import("./mount_command.ts");
    const { mountpoint, replace } = parsed;
    const reload = (): Config => {
      const next = resolve();
      level = levelOf(next);
      return next;
    };
    return await runMount({ mountpoint, replace, config, context, log, reload });
  }
  const options = { config, context, log, json: parsed.json };
  if (parsed.command === "status") {
    const { runStatus } = await import("./status_command.ts");
    const { mountpoint, watch, interval } = parsed;
    return await runStatus({ ...options, mountpoint, watch, interval });
  }
  if (parsed.command === "events") {
    const { runEvents } = await import("./events_command.ts");
    return await runEvents(options);
  }
  if (parsed.command === "index") {
    const { runIndex } = await import("./index_command.ts");
    return await runIndex({ ...options, folder: parsed.folder });
  }
  const { runGc, runScan, runVerify } = await import("./cache_command.ts");
  const { runPin, runUnpin, runWarm } = await import("./warm_command.ts");
  switch (parsed.command) {
    case "warm":
      return await runWarm({ ...options, paths: parsed.paths });
    case "pin":
      return await runPin({ ...options, paths: parsed.paths });
    case "unpin":
      return await runUnpin({ ...options, paths: parsed.paths });
    case "gc":
      return await runGc({
        ...options,
        dryRun: parsed.dryRun,
        isLimitTyped: parsed.max_size !== undefined,
      });
    case "scan":
      return await runScan({
        ...options,
        checksum: parsed.checksum,
        acceptDeletions: parsed.acceptDeletions,
        areOriginsTyped: parsed.origins.length > 0,
      });
    case "verify":
      return await runVerify({ ...options, repair: parsed.repair });
  }
}

/** One line for a failure that musicfs plans for; a bug is named as one, with where it is. */
async function report(error: unknown, context: CliContext): Promise<number> {
  const { oneLine, printable } = await import("./output.ts");
  if (error instanceof MusicfsError) {
    context.stderr.write(`musicfs: ${oneLine(error.message)}\n`);
    return error instanceof UsageError ? USAGE : FAILED;
  }
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  const shown = context.env("MUSICFS_LOG_LEVEL") === "debug"
    ? text
    : printable(text.split("\n", 2).map((line) => line.trim()).join(" "));
  context.stderr.write(`musicfs: This is a bug in musicfs: ${shown}\n`);
  return FAILED;
}
