import { parse, TomlError } from "smol-toml";
import * as v from "valibot";
import { FileSchema, type Settings } from "./settings.ts";
import { keyPositions, positionOf } from "./toml_positions.ts";
import { UsageError } from "./usage_error.ts";

/**
 * Checks the text of a configuration file.
 *
 * Throws {@linkcode UsageError} with file, line and column for what is no TOML, for an unknown key
 * and for a value that makes no sense.
 */
export function parseConfigFile(text: string, file: string): Settings {
  const parsed = v.safeParse(FileSchema, parseToml(text, file));
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  const path = (issue.path ?? []).map((part) => part.key as string | number);
  const position = positionOf(keyPositions(text), path);
  const at = position ? `:${position.line}:${position.column}` : "";
  const key = path.filter((part) => typeof part === "string").join(".");
  throw new UsageError(`${file}${at}: ${describe(issue, key)}`, { subject: file });
}

function parseToml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // The message's first line says what is wrong; a drawing of the place follows.
    const what = cause.message.split("\n", 1)[0]?.replace(/^Invalid TOML document: /, "");
    const message = `${file}:${cause.line}:${cause.column}: this is not TOML: ${what}`;
    throw new UsageError(message, { subject: file, cause });
  }
}

function describe(issue: v.BaseIssue<unknown>, key: string): string {
  if (issue.type === "strict_object" && issue.expected === "never") {
    return `unknown key "${key}"; see "musicfs mount --help" for those there are`;
  }
  if (issue.type === "strict_object") return `"${key}" is missing`;
  if (issue.received === "Object") return `"${key}": ${issue.message}`;
  // They may hold a password or a token.
  if (/^hook\.(url|headers)/.test(key)) return `"${key}" will not do: ${issue.message}`;
  return `"${key}" cannot be ${issue.received}: ${issue.message}`;
}
