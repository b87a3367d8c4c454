import type { LogFields } from "./log.ts";

/** Bounds of what one line says, against loops and whole buffers in a log. */
const DEPTH_MAX = 6;
const ITEMS_MAX = 100;
const BYTES_MAX = 64;

/** Anything that JSON holds. */
export type Plain = null | boolean | number | string | Plain[] | { [key: string]: Plain };

/**
 * Fields as JSON can hold them: an `Error` with its code, stack and causes, a bigint in digits,
 * bytes in hex. What is undefined is left out. Throws only what a getter of a field throws.
 */
export function plainFields(fields: LogFields): { [key: string]: Plain } {
  const result: { [key: string]: Plain } = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) result[key] = plain(value, 0);
  }
  return result;
}

function plain(value: unknown, depth: number): Plain {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "object":
      return value === null ? null : plainObject(value, depth);
    default:
      return String(value);
  }
}

function plainObject(value: object, depth: number): Plain {
  if (depth >= DEPTH_MAX) return "…";
  if (value instanceof Error) return plainError(value, depth);
  if (value instanceof Date) return isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof Uint8Array) {
    const hex = Array.from(value.subarray(0, BYTES_MAX), (b) => b.toString(16).padStart(2, "0"));
    return hex.join("") + (value.length > BYTES_MAX ? `… (${value.length} bytes)` : "");
  }
  if (value instanceof Map || value instanceof Set || Array.isArray(value)) {
    return Array.from(value.values().take(ITEMS_MAX), (item) => plain(item, depth + 1));
  }
  const result: { [key: string]: Plain } = {};
  for (const [key, item] of Object.entries(value).slice(0, ITEMS_MAX)) {
    if (item !== undefined) result[key] = plain(item, depth + 1);
  }
  return result;
}

function plainError(error: Error, depth: number): Plain {
  const result: { [key: string]: Plain } = { name: error.name, message: error.message };
  for (const [key, item] of Object.entries(error)) {
    if (item !== undefined) result[key] = plain(item, depth + 1);
  }
  if (error.stack !== undefined) result.stack = error.stack;
  if (error instanceof AggregateError) result.errors = plain(error.errors, depth + 1);
  if (error.cause !== undefined) result.cause = plain(error.cause, depth + 1);
  return result;
}
