import fc from "fast-check";
import assert from "node:assert/strict";
import {
  formatSeconds,
  formatSize,
  parseDuration,
  parseId,
  parseSize,
  parseUmask,
} from "../../src/cli/quantities.ts";

Deno.test("parseSize() reads what people write, and nothing else", () => {
  const cases: [string, number | undefined][] = [
    ["0", 0],
    ["4096", 4096],
    ["512B", 512],
    ["1k", 1024],
    ["20G", 20 * 2 ** 30],
    ["20GiB", 20 * 2 ** 30],
    ["20GB", 20e9],
    ["20 gb", 20e9],
    ["1.5T", 1.5 * 2 ** 40],
    [".5K", 512],
    [" 64M ", 64 * 2 ** 20],
    ["2P", 2 * 2 ** 50],
    ["9999P", undefined],
    ["", undefined],
    ["G", undefined],
    ["-1", undefined],
    ["1e9", undefined],
    ["20GG", undefined],
    ["20iB", undefined],
    ["1.2.3", undefined],
    ["20 G B", undefined],
    ["0x10", undefined],
    ["Infinity", undefined],
  ];
  for (const [text, bytes] of cases) assert.equal(parseSize(text), bytes, JSON.stringify(text));
});

Deno.test("parseDuration() reads units, several parts, and seconds without a unit", () => {
  const cases: [string, number | undefined][] = [
    ["30s", 30_000],
    ["500ms", 500],
    ["5m", 300_000],
    ["5min", 300_000],
    ["1h30m", 5_400_000],
    ["1h 30min", 5_400_000],
    ["1.5s", 1_500],
    ["2d", 172_800_000],
    ["90", 90_000],
    ["0", 0],
    ["100d", undefined],
    ["", undefined],
    ["s", undefined],
    ["5x", undefined],
    ["-5s", undefined],
    ["5s!", undefined],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, JSON.stringify(text));
});

Deno.test("parseUmask() is octal and parseId() decimal", () => {
  assert.deepEqual(["022", "0o77", "0", "99", "", "-1"].map(parseUmask), [
    0o22,
    0o77,
    0,
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual(["0", "1000", "4294967294", "4294967295", "root", "1.5"].map(parseId), [
    0,
    1000,
    4294967294,
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("formatSize() is read back by parseSize() to within half of its last digit", () => {
  fc.assert(fc.property(fc.nat(2 ** 52), (bytes) => {
    const back = parseSize(formatSize(bytes));
    assert(back !== undefined && Math.abs(back - bytes) <= bytes * 0.06 + 1, formatSize(bytes));
  }));
});

Deno.test("formatSize() and formatSeconds() keep to two units and one digit", () => {
  assert.deepEqual([0, 1023, 1024, 1_048_575, 20 * 2 ** 30].map(formatSize), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.0 MiB",
    "20.0 GiB",
  ]);
  assert.deepEqual([0, 9.94, 61, 3600, 93_784].map(formatSeconds), [
    "0.0 s",
    "9.9 s",
    "1 min 1 s",
    "1 h",
    "1 d 2 h",
  ]);
});
