/** Sizes and durations as people write them: `20G`, `1.5 GB`, `30s`, `1h30m`. */

/** Powers for the letters; `G` and `GiB` are 2^30 bytes, `GB` is 10^9. */
const SIZE_POWERS = { "": 0, k: 1, m: 2, g: 3, t: 4, p: 5 } as const;

const DURATION_MS = {
  ms: 1,
  s: 1_000,
  sec: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
} as const;

/** Longest duration, in ms: what a timer takes (2^31 - 1), about 24 days. */
const DURATION_MS_MAX = 2_147_483_647;

/**
 * Bytes, rounded down; undefined if `text` is no size.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseSize } from "./quantities.ts";
 *
 * assert.equal(parseSize("20G"), 20 * 1024 ** 3);
 * assert.equal(parseSize("20GB"), 20e9);
 * assert.equal(parseSize("1.5MiB"), 1_572_864);
 * assert.equal(parseSize("4096"), 4096);
 * assert.equal(parseSize("lots"), undefined);
 * ```
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?|\.\d+)\s*([kmgtp]?)(i?b)?$/i.exec(text.trim());
  if (!match) return undefined;
  const [, digits = "", letter = "", suffix = ""] = match;
  const isBinary = suffix.toLowerCase() !== "b";
  if (letter === "" && suffix.toLowerCase() === "ib") return undefined;
  const power = SIZE_POWERS[letter.toLowerCase() as keyof typeof SIZE_POWERS];
  const bytes = Math.floor(Number(digits) * (isBinary ? 1024 : 1000) ** power);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/**
 * Bytes a second, 0 for no limit; undefined if `text` is no rate. As rclone has it: `10M` is 10 MiB
 * a second, and a number without a unit counts KiB.
 */
export function parseBandwidth(text: string): number | undefined {
  const rate = text.trim().toLowerCase().replace(/\/s$/, "");
  if (rate === "off") return 0;
  return parseSize(/^[\d.]+$/.test(rate) ? `${rate}K` : rate);
}

/**
 * Milliseconds; undefined if `text` is no duration. A number without a unit is seconds, as systemd
 * and rclone have it; several parts are added up.
 */
export function parseDuration(text: string): number | undefined {
  const compact = text.trim().toLowerCase();
  if (/^\d+(\.\d+)?$/.test(compact)) return boundedMs(Number(compact) * 1_000);
  if (!/^(\d+(\.\d+)?\s*(ms|sec|s|min|m|h|d)\s*)+$/.test(compact)) return undefined;
  let ms = 0;
  for (const [, digits, unit] of compact.matchAll(/(\d+(?:\.\d+)?)\s*(ms|sec|s|min|m|h|d)/g)) {
    ms += Number(digits) * DURATION_MS[unit as keyof typeof DURATION_MS];
  }
  return boundedMs(ms);
}

function boundedMs(ms: number): number | undefined {
  return ms <= DURATION_MS_MAX ? Math.round(ms) : undefined;
}

/** A file mode mask in octal, `022` or `0o22`; undefined if `text` is none. */
export function parseUmask(text: string): number | undefined {
  return /^(0o)?[0-7]{1,4}$/.test(text) ? parseInt(text.replace("0o", ""), 8) & 0o777 : undefined;
}

/** A user or group id; undefined if `text` is none. The highest one means "no change" to Linux. */
export function parseId(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) < 0xffff_ffff ? Number(text) : undefined;
}

/** Bytes for people, in the units that {@linkcode parseSize} reads: `1.5 GiB`. */
export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Seconds for people: `0.4 s`, `3 min 20 s`, `2 d 4 h`: at most two units. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3_600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  return parts.slice(first, first + 2).filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** A count with separators: `1,234,567`. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}
