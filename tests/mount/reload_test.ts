import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { Log } from "../../src/base/log.ts";
import type { Config } from "../../src/mount/config.ts";
import { reload, waitingIn } from "../../src/mount/reload.ts";

const CONFIG: Config = {
  cacheDir: "/cache",
  maxSizeBytes: 1_000,
  cache: "on",
  readTimeoutMs: 30_000,
  pollIntervalMs: 300_000,
  watch: true,
  trustAudioMd5: true,
  exclude: ["@eaDir"],
  origins: [{ name: "nas", url: "/nas", priority: 0 }],
  hooks: [],
  hash: "xxh128",
  umask: 0,
  uid: undefined,
  gid: undefined,
  allowOther: false,
  bwlimitBytes: undefined,
  logLevel: undefined,
  logFormat: "text",
  metrics: undefined,
};

/** What a reload with `read` does. */
function reloaded(read: () => Config): Record<string, unknown> & { said: string[] } {
  const said: string[] = [];
  const note = (message: string, fields?: object): void =>
    void said.push(`${message} ${JSON.stringify(Object(fields)["options"] ?? "")}`);
  const log: Log = { debug: () => {}, info: () => {}, warning: note, error: note };
  const config = { ...CONFIG };
  const fetcher = { readTimeoutMs: CONFIG.readTimeoutMs };
  const seen: Record<string, unknown> = {};
  const cache = {
    config,
    fetcher,
    space: { limitBytes: 0, setLimit: (bytes: number) => void (seen["limit"] = bytes) },
    bandwidth: { setRate: (rate: number | undefined) => void (seen["rate"] = rate) },
    disk: { probeSoon: () => {}, probe: () => seen["probed"] = true },
  };
  const startGivenUp = (): string[] => (seen["started"] = true, []);
  reload({ cache: cache as never, log, read, startGivenUp });
  const { pollIntervalMs } = config;
  return { ...seen, said, pollIntervalMs, readTimeoutMs: fetcher.readTimeoutMs };
}

Deno.test("reload() takes over sizes, rates and times, and tries disk and tasks again", () => {
  const next = { maxSizeBytes: 5, bwlimitBytes: 6, readTimeoutMs: 7, pollIntervalMs: 8 };
  const { said, ...rest } = reloaded(() => ({ ...CONFIG, ...next }));
  assert.deepEqual(said, []);
  assert.deepEqual(rest, {
    limit: 5,
    rate: 6,
    readTimeoutMs: 7,
    pollIntervalMs: 8,
    probed: true,
    started: true,
  });
});

Deno.test("reload() names what changed and waits for the next mount, and nothing else", () => {
  const { said, limit } = reloaded(() => ({ ...CONFIG, exclude: [], umask: 2, maxSizeBytes: 9 }));
  assert.deepEqual(said, [
    'Some options that changed wait for the next mount ["exclude","umask"]',
  ]);
  assert.equal(limit, 9);
  assert.deepEqual(waitingIn(CONFIG, { ...CONFIG, logLevel: "debug" }), []);
});

Deno.test("reload() of a wrong configuration changes nothing, and says so", () => {
  const { said, limit, readTimeoutMs } = reloaded(() => {
    throw new MusicfsError("invalid", "no such key", { op: "config", subject: "x" });
  });
  assert.match(said.join("\n"), /wrong now/);
  assert.deepEqual([limit, readTimeoutMs], [undefined, 30_000]);
});

Deno.test("reload() lets a bug pass: whoever called it logs it and stops", () => {
  assert.throws(() =>
    reloaded(() => {
      throw new TypeError("a bug");
    }), TypeError);
});
