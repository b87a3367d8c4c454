import type { ConfigSources, Flags } from "./config.ts";
import type { CliContext } from "./context.ts";
import type { Parsed } from "./parser.ts";
import { SETTING_KEYS } from "./settings.ts";

/** What the configuration reads of this process and its files. */
export function configSources({ env, cwd, home }: CliContext): ConfigSources {
  return {
    env,
    cwd,
    home,
    isJournal: isJournal(env("JOURNAL_STREAM"), "/proc/self/fd/2"),
    readFile: (path) => {
      try {
        return Deno.readTextFileSync(path);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        if (error instanceof Deno.errors.NotADirectory) return undefined;
        throw error;
      }
    },
  };
}

/**
 * Whether the open file at `path` is the one systemd named in `$JOURNAL_STREAM` (device and inode).
 * The variable alone says little: every program below a service inherits it. Source: systemd.exec(5).
 */
export function isJournal(stream: string | undefined, path: string): boolean {
  if (stream === undefined || !/^\d+:\d+$/.test(stream)) return false;
  try {
    const { dev, ino } = Deno.statSync(path);
    return stream === `${dev}:${ino}`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false; // Closed.
    throw error;
  }
}

/** The options among what was typed; the parser calls them by their TOML keys. */
export function flagsOf(parsed: Parsed): Flags {
  const typed: Readonly<Record<string, unknown>> = parsed;
  const settings: Record<string, string | boolean | readonly string[]> = {};
  for (const key of SETTING_KEYS) {
    const value = typed[key];
    // A flag that stands alone is false when it was not typed.
    if (typeof value === "string" || Array.isArray(value) || value === true) settings[key] = value;
  }
  const { origins, config } = typed;
  return {
    settings,
    origins: Array.isArray(origins) ? origins.map(String) : [],
    configFile: typeof config === "string" ? config : undefined,
  };
}
