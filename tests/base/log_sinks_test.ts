import fc from "fast-check";
import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { Log } from "../../src/base/log.ts";
import { type LogFormat, type LogLevel, openLog } from "../../src/base/log_sinks.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const FORMATS: LogFormat[] = ["text", "json", "journald"];

function capture(format: LogFormat, level: LogLevel = "debug"): { log: Log; text: () => string } {
  const lines: Uint8Array[] = [];
  const log = openLog({
    format,
    level,
    write: (line) => void lines.push(line),
    clock: new VirtualClock(Date.UTC(2026, 4, 9, 18, 15)),
    category: "store",
  });
  const decoder = new TextDecoder();
  return { log, text: () => lines.map((line) => decoder.decode(line)).join("") };
}

function withCause(): MusicfsError {
  const cause = new Error("no space left", { cause: new Error("disk") });
  return new MusicfsError("full", "Cannot write", { op: "store.put", subject: "ab12", cause });
}

Deno.test("openLog() writes JSON lines with level, time, category and fields", () => {
  const { log, text } = capture("json");
  log.warning("Bad chunk", { id: new Uint8Array([0xab, 1]), size: 12n, path: undefined });
  assert.deepEqual(JSON.parse(text()), {
    "@timestamp": "2026-05-09T18:15:00.000Z",
    level: "WARN",
    message: "Bad chunk",
    logger: "musicfs.store",
    properties: { id: "ab01", size: "12" },
  });
});

Deno.test("openLog() writes what journald reads: one line with its priority each", () => {
  const { log, text } = capture("journald");
  log.error("Bad chunk", { id: "ab" });
  log.warning("two\nlines");
  log.info("plain");
  log.debug("more", { error: withCause() });
  const lines = text().trimEnd().split("\n");
  assert.deepEqual(lines.slice(0, 3), [
    '<3>[musicfs.store] Bad chunk {"id":"ab"}',
    "<4>[musicfs.store] two\\nlines",
    "<6>[musicfs.store] plain",
  ]);
  assert.equal(lines.length, 4);
  assert.match(lines[3] ?? "", /^<7>\[musicfs.store\] more \{"error":\{"name":"MusicfsError"/);
});

Deno.test("openLog() writes text for people, the stacks below it", () => {
  const { log, text } = capture("text");
  log.error("Cannot store", { path: "a b", id: "ab", error: withCause() });
  const [first, ...rest] = text().trimEnd().split("\n");
  assert.match(
    first ?? "",
    /^2026-05-\d\d \d\d:15:00\.000 [+-]\d\d:\d\d \[ERR\] musicfs·store: Cannot store path="a b" id=ab error="MusicfsError: Cannot write"$/,
  );
  const stack = rest.join("\n");
  assert.match(stack, /^ {4}MusicfsError: Cannot write\n {8}at .*log_sinks_test\.ts/);
  assert.match(stack, /caused by: Error: no space left\n[^]*caused by: Error: disk\n/);
});

for (const format of ["json", "journald"] as const) {
  Deno.test(`openLog() as ${format} writes an error with code, stack and causes`, () => {
    const { log, text } = capture(format);
    log.error("Cannot store", { error: withCause() });
    const line = text();
    const json = JSON.parse(line.slice(line.indexOf("{")));
    const { error } = json.properties ?? json;
    const { code, op, subject, message, cause } = error;
    assert.deepEqual([code, op, subject, message], ["full", "store.put", "ab12", "Cannot write"]);
    assert.match(error.stack, /log_sinks_test\.ts/);
    assert.equal(cause.message, "no space left");
    assert.equal(cause.cause.message, "disk");
  });
}

for (const format of FORMATS) {
  Deno.test(`openLog() as ${format} writes nothing below its level`, () => {
    const { log, text } = capture(format, "warning");
    log.debug("a");
    log.info("b");
    assert.equal(text(), "");
    log.warning("c");
    log.error("d");
    assert.equal(text().trimEnd().split("\n").length, 2);
  });

  Deno.test(`openLog() as ${format} never throws, and gives a terminal nothing to obey`, () => {
    const loop: Record<string, unknown> = { big: 1n, nan: NaN, none: null, symbol: Symbol("s") };
    loop.self = loop;
    const trap = {
      get field(): never {
        throw new Error("trap");
      },
    };
    const escape = "\u001b[2J\u009b\r\n\u0000";
    const { log, text } = capture(format);
    log.error(escape, { loop, escape, error: new Error(escape), trap: undefined });
    log.error("trap", trap);
    log.error("deep", { trap });
    fc.assert(fc.property(fc.string(), fc.dictionary(fc.string(), fc.anything()), (m, fields) => {
      log.info(m, fields);
    }));
    // deno-lint-ignore no-control-regex -- control characters are what it is about
    assert.doesNotMatch(text(), /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  });

  Deno.test(`openLog() as ${format} outlives a sink that is gone`, () => {
    const write = (): never => {
      throw new Deno.errors.BrokenPipe("gone");
    };
    openLog({ format, level: "debug", write, clock: new VirtualClock() }).error("lost");
  });
}
