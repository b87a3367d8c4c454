/**
 * The options that flag, environment and configuration file share: one schema each, so that
 * `--max-size`, `MUSICFS_MAX_SIZE` and `max_size` accept the same and say the same.
 */

import * as v from "valibot";
import type { MetricsAddress } from "../mount/config.ts";
import { parseMetricsAddress } from "./metrics_address.ts";
import { parseBandwidth, parseDuration, parseId, parseSize, parseUmask } from "./quantities.ts";

/** What `parse` makes of a text. */
function parsed<T>(
  parse: (text: string) => T | undefined,
  expected: string,
): v.RawTransformAction<string, T> {
  return v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const value = parse(dataset.value);
    if (value !== undefined) return value;
    addIssue({ message: `write ${expected}` });
    return NEVER;
  });
}

/** Text, or a plain number in TOML. */
function quantity<T>(
  parse: (text: string) => T | undefined,
  expected: string,
): v.GenericSchema<string | number, T> {
  return v.pipe(
    v.union([v.string(), v.number()], `write ${expected}`),
    v.transform(String),
    parsed(parse, expected),
  );
}

function choice<const T extends readonly string[]>(values: T): v.GenericSchema<T[number]> {
  return v.picklist(values, `write one of ${values.join(", ")}`);
}

const yesOrNo = v.union(
  [
    v.boolean(),
    v.pipe(v.picklist(["1", "true", "yes", "on"]), v.transform(() => true)),
    v.pipe(v.picklist(["0", "false", "no", "off"]), v.transform(() => false)),
  ],
  "write true or false",
);

const text = v.pipe(v.string("write a text in quotes"), v.nonEmpty("write something"));

/** Names without `/`; in the environment separated by commas. */
const names = v.pipe(
  v.union([v.string(), v.array(v.string())], "write a list of names"),
  v.transform((value) =>
    typeof value === "string" ? value.split(",").map((name) => name.trim()).filter(Boolean) : value
  ),
  v.check(
    (list) => list.every((name) => name !== "" && !name.includes("/")),
    'write names of files or folders, without "/"',
  ),
);

const DURATION = "a duration like 30s, 5m or 500ms";

const METRICS = 'an address of this machine like "127.0.0.1:9300", "unix:/path", or "off"';

const MASK = 'an octal mask like "022"';

/** Every option but the origins, by its TOML key. */
export const SETTINGS = {
  cache_dir: text,
  max_size: quantity(parseSize, "a size like 20G, 20GB or 1.5T"),
  cache: choice(["on", "off", "auto"]),
  no_passthrough: yesOrNo,
  read_timeout: quantity(parseDuration, DURATION),
  poll_interval: quantity(parseDuration, DURATION),
  no_watch: yesOrNo,
  no_trust_audio_md5: yesOrNo,
  // 0 is no limit, and stands above a limit from a place that is asked later.
  bwlimit: quantity(parseBandwidth, 'a rate like "10M" (10 MiB a second), or "off"'),
  exclude: names,
  hash: choice(["xxh128", "xxh64"]),
  // Text only: TOML's 0o22 would arrive as 18.
  umask: v.pipe(v.string(`write ${MASK}`), parsed(parseUmask, MASK)),
  uid: quantity(parseId, "a user's number"),
  gid: quantity(parseId, "a group's number"),
  allow_other: yesOrNo,
  log_level: choice(["debug", "info", "warning", "error"]),
  log_format: choice(["auto", "text", "json", "journald"]),
  metrics: v.pipe(
    v.string(`write ${METRICS}`),
    parsed<MetricsAddress | "off">(parseMetricsAddress, METRICS),
  ),
} as const;

export type SettingKey = keyof typeof SETTINGS;

export const SETTING_KEYS = Object.keys(SETTINGS) as SettingKey[];

const priority = v.pipe(
  v.number("write a whole number"),
  v.safeInteger("write a whole number"),
);

const OriginSchema = v.strictObject({
  name: v.optional(text),
  url: text,
  priority: v.optional(priority),
});

/** One origin of a configuration file. */
export type OriginSetting = v.InferOutput<typeof OriginSchema>;

const COMMAND = 'write program and arguments: ["mpc", "update"]';

/** For no shell; a NUL would end an argument early. */
const argv = v.pipe(
  v.array(v.string(COMMAND), COMMAND),
  v.check((words) => Boolean(words[0]) && !words.some((word) => word.includes("\0")), COMMAND),
);

const webUrl = v.pipe(
  v.string("write a text in quotes"),
  v.check((url) => /^https?:$/.test(URL.parse(url)?.protocol ?? ""), "write http://… or https://…"),
);

const headers = v.pipe(
  v.record(v.string(), v.string("write a text in quotes"), 'write { Name = "value" }'),
  v.check(areHeaders, "write names and values as HTTP allows them"),
);

const HookSchema = v.pipe(
  v.strictObject({
    command: v.optional(argv),
    url: v.optional(webUrl),
    method: v.optional(choice(["GET", "POST"])),
    headers: v.optional(headers),
    timeout: v.optional(v.pipe(
      quantity(parseDuration, DURATION),
      v.minValue(1, `write ${DURATION}, longer than nothing`),
    )),
    min_interval: v.optional(quantity(parseDuration, DURATION)),
  }),
  v.check(({ command, url }) => command !== undefined || url !== undefined, "needs command or url"),
  v.forward(
    v.check(({ command, url }) => !(command && url), "command and url are two hooks"),
    ["url"],
  ),
  v.forward(
    v.check(({ command, method }) => !(command && method), "a command has no method"),
    ["method"],
  ),
  v.forward(
    v.check(({ command, headers }) => !(command && headers), "a command has no headers"),
    ["headers"],
  ),
);

/** One hook of a configuration file. */
export type HookSetting = v.InferOutput<typeof HookSchema>;

/** A whole configuration file. */
export const FileSchema = v.strictObject({
  ...v.partial(v.strictObject(SETTINGS)).entries,
  origin: v.optional(v.array(OriginSchema, "write [[origin]]")),
  hook: v.optional(v.array(HookSchema, "write [[hook]]")),
});

/** Options from one place, checked; what that place does not name is absent. */
export type Settings = v.InferOutput<typeof FileSchema>;

function areHeaders(record: Record<string, string>): boolean {
  try {
    new Headers(record);
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

/** The flag of an option, as in `--max-size`. */
export function flagOf(key: string): string {
  return `--${key.replaceAll("_", "-")}`;
}

/** The environment variable of an option, as in `MUSICFS_MAX_SIZE`. */
export function variableOf(key: string): string {
  return `MUSICFS_${key.toUpperCase()}`;
}
