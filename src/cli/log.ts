import type { Clock } from "../base/clock.ts";
import type { Log, LogFields } from "../base/log.ts";

export type LogLevel = "debug" | "info" | "warning" | "error";
export type LogFormat = "text" | "json" | "journald";

/** Syslog priorities, which journald takes from the start of a line. Source: sd-daemon(3). */
const PRIORITIES = { debug: 7, info: 6, warning: 4, error: 3 } as const;

/** Causes of causes written before it is enough. */
const CAUSES_MAX = 8;

/**
 * A log that hands each message to `write` as one line (an error's stack follows it on lines of its
 * own in `text` only), at once: what was logged before a crash has been written.
 */
export function createLog(options: {
  level: LogLevel;
  format: LogFormat;
  clock: Clock;
  write: (text: string) => void;
}): Log {
  const { level, format, clock, write } = options;
  const at = (own: LogLevel) => (message: string, fields: LogFields = {}): void => {
    if (PRIORITIES[own] > PRIORITIES[level]) return;
    write(formatLine(format, { level: own, message, fields, time: clock.now() }));
  };
  return { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
}

interface Line {
  level: LogLevel;
  message: string;
  fields: LogFields;
  /** Ms since 1970. */
  time: number;
}

function formatLine(format: LogFormat, { level, message, fields, time }: Line): string {
  switch (format) {
    case "json": {
      const head = { time: new Date(time).toISOString(), level, message };
      return toJson({ ...head, ...fields }) + "\n";
    }
    case "journald": {
      const rest = Object.keys(fields).length === 0 ? "" : ` ${toJson(fields)}`;
      return `<${PRIORITIES[level]}>${oneLine(message)}${rest}\n`;
    }
    case "text": {
      const stamp = new Date(time).toISOString();
      return `${stamp} ${level.padEnd(7)} ${oneLine(message)}${fieldsAsText(fields)}\n`;
    }
  }
}

/** `name=value` for each; an error's message beside its name and its stack below. */
function fieldsAsText(fields: LogFields): string {
  let line = "";
  let stacks = "";
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Error) {
      line += ` ${name}=${JSON.stringify(value.message)}`;
      stacks += `\n${stackOf(value)}`;
    } else line += ` ${name}=${typeof value === "string" ? quoted(value) : toJson(value)}`;
  }
  return line + stacks.replaceAll("\n", "\n    ");
}

function quoted(value: string): string {
  return /^[^\s"=\\]+$/.test(value) ? value : JSON.stringify(value);
}

/** An error's stack and those of its causes, as text. */
export function stackOf(error: Error): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; depth < CAUSES_MAX && current !== undefined; depth += 1) {
    const text = current instanceof Error ? current.stack ?? current.message : String(current);
    parts.push(depth === 0 ? text : `caused by: ${text}`);
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join("\n");
}

/** JSON of anything: errors with their stack, large numbers as text. */
function toJson(value: unknown): string {
  const text = JSON.stringify(value, (_, part) => {
    if (part instanceof Error) {
      return { name: part.name, message: part.message, stack: stackOf(part) };
    }
    return typeof part === "bigint" ? part.toString() : part;
  });
  return text ?? "null";
}

function oneLine(message: string): string {
  return message.replaceAll("\n", " ");
}
