import { getJsonLinesFormatter, getTextFormatter, type LogRecord } from "@logtape/logtape";
import type { Clock } from "./clock.ts";
import type { Log, LogFields } from "./log.ts";
import { type Plain, plainFields } from "./log_fields.ts";

export type LogLevel = "debug" | "info" | "warning" | "error";

/**
 * - `text`: `2026-05-09 20:15:00.000 +02:00 [WRN] musicfs: Message key=value`, local time, then the
 *   stacks of errors on lines of their own
 * - `json`: LogTape's JSON lines: `@timestamp`, `level`, `message`, `logger`, `properties`
 * - `journald`: `<4>[musicfs] Message {"key":"value"}`, always one line, priorities as in syslog
 */
export type LogFormat = "text" | "json" | "journald";

export interface LogOptions {
  format: LogFormat;
  /** The least that is written; a function is asked for each message. */
  level: LogLevel | (() => LogLevel);
  /** Gets whole lines, the line end included; what it throws is dropped with the line. */
  write: (line: Uint8Array) => void;
  clock: Clock;
  /** What the lines are filed under, after `musicfs`. */
  category?: string;
}

const RANK = { debug: 0, info: 1, warning: 2, error: 3 } satisfies Record<LogLevel, number>;

/** Source: sd-daemon(3). */
const PRIORITY = { debug: 7, info: 6, warning: 4, error: 3 } satisfies Record<LogLevel, number>;

/** One message, as the formats get it. */
interface Line {
  record: LogRecord;
  level: LogLevel;
  fields: { [key: string]: Plain };
}

/** A log whose methods never throw, whatever they are given. */
export function openLog(options: LogOptions): Log {
  const category = options.category === undefined ? ["musicfs"] : ["musicfs", options.category];
  const format = formatterOf(options.format);
  const encoder = new TextEncoder();
  const { level: given } = options;
  const least = typeof given === "function" ? given : (): LogLevel => given;
  function at(level: LogLevel): (message: string, fields?: LogFields) => void {
    return (message, given) => {
      if (RANK[level] < RANK[least()]) return;
      attempt(() => {
        const fields = readable(given ?? {});
        const record: LogRecord = {
          category,
          level,
          message: [message],
          rawMessage: message,
          timestamp: options.clock.now(),
          properties: fields,
        };
        options.write(encoder.encode(format({ record, level, fields })));
      });
    };
  }
  return { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
}

/** Runs `step`; undefined if it threw. There is no log to tell that to. */
function attempt<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    return void error;
  }
}

/** The fields, or a word about them where reading one throws. */
function readable(fields: LogFields): { [key: string]: Plain } {
  return attempt(() => plainFields(fields)) ?? { fields: "could not be read" };
}

function formatterOf(format: LogFormat): (line: Line) => string {
  switch (format) {
    case "json": {
      const json = getJsonLinesFormatter();
      return ({ record }) => json(record);
    }
    case "text": {
      const text = getTextFormatter({ timeZone: null, sanitize: { newlines: "escape" } });
      return ({ record, level, fields }) => {
        const message = record.message.join("") + pairs(fields);
        return text({ ...record, message: [message] }) + stacks(fields, level);
      };
    }
    case "journald": {
      const text = getTextFormatter({
        timestamp: "none",
        sanitize: { newlines: "escape", sgr: "escape" },
        category: ".",
        format: ({ category, message }) => `[${category}] ${message}`,
      });
      return ({ record, level, fields }) => {
        const shown = Object.keys(fields).length === 0 ? "" : " " + JSON.stringify(fields);
        const message = record.message.join("") + shown;
        return `<${PRIORITY[level]}>${text({ ...record, message: [message] })}`;
      };
    }
  }
}

/** ` key=value` for each field; an error by its name and message. */
function pairs(fields: { [key: string]: Plain }): string {
  let result = "";
  for (const [key, value] of Object.entries(fields)) {
    if (typeof value === "string" && /^[^\s"=]+$/.test(value)) result += ` ${key}=${value}`;
    else result += ` ${key}=${JSON.stringify(isError(value) ? summary(value) : value)}`;
  }
  return result;
}

/**
 * The stacks of the fields that are errors, and of what caused those, indented. A failure that
 * musicfs plans for and mends by itself says all in its message.
 */
function stacks(fields: { [key: string]: Plain }, level: LogLevel): string {
  let result = "";
  for (const value of Object.values(fields)) {
    if (isError(value) && value.name === "MusicfsError" && level !== "error") continue;
    let prefix = "    ";
    for (let error: Plain | undefined = value; error !== undefined && isError(error);) {
      result += prefix + indented(String(error.stack ?? summary(error))) + "\n";
      prefix = "    caused by: ";
      error = error.cause;
    }
  }
  return result;
}

function isError(value: Plain): value is { [key: string]: Plain } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return typeof value.name === "string" && typeof value.message === "string" && "stack" in value;
}

function summary(error: { [key: string]: Plain }): string {
  return `${error.name}: ${error.message}`;
}

/** A stack with its lines indented, and free of what a terminal would obey. */
function indented(stack: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what it is about
  return stack.replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, "?")
    .replaceAll("\n", "\n    ");
}
