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
