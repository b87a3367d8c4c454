import type { Config, HookConfig, OriginConfig } from "../mount/config.ts";
import * as v from "valibot";
import { parseConfigFile } from "./config_file.ts";
import {
  absolutePath,
  identityWithEndpoint,
  parseOriginUrl,
  type PathBase,
  type TypedOrigin,
} from "./origin_url.ts";
import {
  flagOf,
  type OriginSetting,
  SETTING_KEYS,
  type SettingKey,
  SETTINGS,
  type Settings,
  variableOf,
} from "./settings.ts";
import { UsageError } from "./usage_error.ts";

/** What was typed: options by their TOML key, as text or as the parser left them. */
export interface Flags {
  /** Undefined or absent for what was not typed. */
  settings: Readonly<Partial<Record<SettingKey, string | boolean | readonly string[] | undefined>>>;
  /** In the order they are asked; empty: those that are configured. */
  origins: readonly string[];
  /** `--config`. */
  configFile: string | undefined;
}

/** What the configuration depends on besides the flags. */
export interface ConfigSources {
  env(name: string): string | undefined;
  /** Folder that typed relative paths start from. */
  cwd: string;
  home: string;
  /** Whether what is logged goes straight into systemd's journal. */
  isJournal: boolean;
  /** The text of a file; undefined if there is none. */
  readFile(path: string): string | undefined;
}

/** What one place says. */
interface Layer extends Settings {
  /** Where its relative paths start. */
  base: PathBase;
  /** What names its origins: `--origin`, `MUSICFS_ORIGIN`, or the file. */
  place: string;
}

const SYSTEM_CONFIG = "/etc/musicfs/config.toml";
const READ_TIMEOUT_MS = 30_000;
const POLL_INTERVAL_MS = 300_000;
const HOOK_TIMEOUT_MS = 30_000;
const HOOK_INTERVAL_MS = 10_000;

/** What NAS systems and Macs leave beside the music. */
const EXCLUDED = ["@eaDir", ".DS_Store", "#recycle"] as const;

/**
 * Resolves the configuration: flags before environment before file before defaults; one file, the
 * first of `--config`, the user's and the system's. Every place is checked, also what another one
 * overrides.
 *
 * Throws {@linkcode UsageError} naming the place.
 */
export function resolveConfig(flags: Flags, sources: ConfigSources): Config {
  const layers = [
    layerOfFlags(flags, sources),
    layerOfEnvironment(sources),
    layerOfFile(flags.configFile ?? nonEmpty(sources.env("MUSICFS_CONFIG")), sources),
  ];
  const first = <K extends keyof Settings>(key: K): Settings[K] =>
    layers.find((layer) => layer[key] !== undefined)?.[key];
  return {
    cacheDir: firstPath(layers) ?? defaultCacheDir(sources),
    maxSizeBytes: first("max_size"),
    cache: layers.map(cacheOf).find((cache) => cache !== undefined) ?? "auto",
    readTimeoutMs: first("read_timeout") ?? READ_TIMEOUT_MS,
    pollIntervalMs: first("poll_interval") ?? POLL_INTERVAL_MS,
    watch: first("no_watch") !== true,
    trustAudioMd5: first("no_trust_audio_md5") !== true,
    exclude: first("exclude") ?? EXCLUDED,
    origins: originsOf(layers),
    hooks: hooksOf(layers),
    hash: first("hash") ?? "xxh128",
    umask: first("umask") ?? 0,
    uid: first("uid"),
    gid: first("gid"),
    allowOther: first("allow_other") ?? false,
    bwlimitBytes: first("bwlimit") || undefined,
    logLevel: first("log_level"),
    logFormat: logFormatOf(first("log_format"), sources),
    metrics: metricsOf(first("metrics")),
  };
}

function logFormatOf(
  format: Settings["log_format"],
  { isJournal }: ConfigSources,
): Config["logFormat"] {
  if (format !== undefined && format !== "auto") return format;
  return isJournal ? "journald" : "text";
}

/** "off" stands above an address from a place that is asked later. */
function metricsOf(metrics: Settings["metrics"]): Config["metrics"] {
  return metrics === "off" ? undefined : metrics;
}

function layerOfFlags(flags: Flags, sources: ConfigSources): Layer {
  return {
    ...checkSettings((key) => flags.settings[key], flagOf),
    ...originsSetting(flags.origins),
    base: { folder: sources.cwd, home: sources.home },
    place: "--origin",
  };
}

function layerOfEnvironment(sources: ConfigSources): Layer {
  const origins = (sources.env("MUSICFS_ORIGIN") ?? "").split(/\s+/).filter(Boolean);
  return {
    ...checkSettings((key) => nonEmpty(sources.env(variableOf(key))), variableOf),
    ...originsSetting(origins),
    base: { folder: sources.cwd, home: sources.home },
    place: "MUSICFS_ORIGIN",
  };
}

/** `$XDG_CONFIG_HOME/musicfs/config.toml`, `~/.config/…`, `/etc/…`: the first that is there. */
function layerOfFile(chosen: string | undefined, sources: ConfigSources): Layer {
  const { home, cwd } = sources;
  const configHome = nonEmpty(sources.env("XDG_CONFIG_HOME")) ?? `${home}/.config`;
  const files = chosen === undefined
    ? [`${configHome}/musicfs/config.toml`, SYSTEM_CONFIG]
    : [absolutePath(chosen, { folder: cwd, home })];
  for (const file of files) {
    const text = readConfigText(file, sources);
    if (text === undefined) continue;
    const folder = file.slice(0, file.lastIndexOf("/")) || "/";
    return { ...parseConfigFile(text, file), base: { folder, home }, place: file };
  }
  if (chosen === undefined) return { base: { folder: cwd, home }, place: "" };
  throw new UsageError(`Cannot read the configuration ${chosen}: there is no such file`, {
    subject: chosen,
  });
}

function readConfigText(file: string, sources: ConfigSources): string | undefined {
  try {
    return sources.readFile(file);
  } catch (cause) {
    const why = cause instanceof Deno.errors.PermissionDenied
      ? "permission denied"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new UsageError(`Cannot read the configuration ${file}: ${why}`, { subject: file, cause });
  }
}

/** Checks what one place says of each option; `nameOf` is what the option is called there. */
function checkSettings(
  valueOf: (key: SettingKey) => unknown,
  nameOf: (key: string) => string,
): Settings {
  const checked: Record<string, unknown> = {};
  for (const key of SETTING_KEYS) {
    const value = valueOf(key);
    if (value === undefined) continue;
    const parsed = v.safeParse(SETTINGS[key], value);
    if (!parsed.success) {
      const message = `${nameOf(key)} cannot be "${value}": ${parsed.issues[0].message}`;
      throw new UsageError(message, { subject: nameOf(key) });
    }
    checked[key] = parsed.output;
  }
  return checked as Settings;
}

/** `no_passthrough` is `cache = "on"` in other words; both at once must agree. */
function cacheOf(layer: Settings): Config["cache"] | undefined {
  if (layer.no_passthrough !== true) return layer.cache;
  if (layer.cache === undefined || layer.cache === "on") return "on";
  throw new UsageError(`--no-passthrough means --cache on, and cannot go with ${layer.cache}`, {
    subject: "--no-passthrough",
  });
}

function firstPath(layers: readonly Layer[]): string | undefined {
  for (const { cache_dir, base } of layers) {
    if (cache_dir !== undefined) return absolutePath(cache_dir, base);
  }
  return undefined;
}

/** systemd's `CacheDirectory=`, else the user's cache folder. */
function defaultCacheDir({ env, home }: ConfigSources): string {
  const given = nonEmpty(env("CACHE_DIRECTORY"))?.split(":")[0];
  if (given) return given;
  return `${nonEmpty(env("XDG_CACHE_HOME")) ?? `${home}/.cache`}/musicfs`;
}

function originsSetting(urls: readonly string[]): { origin?: OriginSetting[] } {
  return urls.length === 0 ? {} : { origin: urls.map((url) => ({ url })) };
}

/** The origins of the first place that names any; in the order they are asked. */
function originsOf(layers: readonly Layer[]): OriginConfig[] {
  const layer = layers.find(({ origin }) => origin !== undefined && origin.length > 0);
  if (layer?.origin === undefined) return [];
  const taken = new Set<string>();
  const take = (name: string): string => {
    if (taken.has(name)) throw calledTwice(layer, name);
    taken.add(name);
    return name;
  };
  for (const { name } of layer.origin) if (name !== undefined) take(name);
  const origins = layer.origin.map((setting, index): OriginConfig => {
    const typed = parseFrom(layer, setting.url);
    const { url } = typed;
    const priority = setting.priority ?? index;
    if (setting.name !== undefined) return { name: setting.name, url, priority };
    // Of two buckets of one name at two endpoints, the later one is known by its endpoint, too.
    const longer = taken.has(typed.identity) ? identityWithEndpoint(typed) : undefined;
    return { name: take(longer ?? typed.identity), url, priority };
  });
  return origins.sort((a, b) => a.priority - b.priority);
}

/** The hooks of the configuration file: no other place names any. */
function hooksOf(layers: readonly Layer[]): HookConfig[] {
  return layers.flatMap(({ hook = [], base }) =>
    hook.map(({ command, url = "", method = "POST", headers = {}, ...times }): HookConfig => {
      const { timeout: timeoutMs = HOOK_TIMEOUT_MS, min_interval = HOOK_INTERVAL_MS } = times;
      const common = { timeoutMs, minIntervalMs: min_interval };
      if (command === undefined) return { ...common, url, method, headers };
      const [program = "", ...args] = command;
      // A bare name is looked for in PATH; a path starts where those of this file do.
      const found = program.includes("/") ? absolutePath(program, base) : program;
      return { ...common, command: [found, ...args] };
    })
  );
}

function calledTwice({ place }: Layer, name: string): UsageError {
  const message =
    `${place}: Two origins are called "${name}"; give one of them a name of its own ` +
    "with name = under its [[origin]] in the configuration file";
  return new UsageError(message, { subject: name });
}

function parseFrom({ base, place }: Layer, url: string): TypedOrigin {
  try {
    return parseOriginUrl(url, base);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const { subject, cause } = error;
    throw new UsageError(`${place}: ${error.message}`, { subject, cause });
  }
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}
