import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { Prefetch } from "../../src/reader/prefetch.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { KiB, MiB } from "./rig.ts";

function version(id: number): FileVersion {
  const source = { origin: "nas", path: `${id}.flac`, version: "v1" };
  return { id, size: 100 * MiB, mtimeNs: 0n, sources: [source] };
}

const MAX = 32 * MiB;

/** A prefetch whose fetches end only when their signals say so. */
function hanging(): { prefetch: Prefetch; signals: AbortSignal[] } {
  const signals: AbortSignal[] = [];
  const prefetch = new Prefetch({
    isHere: () => false,
    bring: (_version, _range, { signal }) => {
      signals.push(signal);
      return new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    },
    windowMax: () => MAX,
    describe: version,
    clock: systemClock,
    log: silentLog,
  });
  return { prefetch, signals };
}

function stream(prefetch: Prefetch, handle: number, file: FileVersion): void {
  for (let offset = 0; offset < 2 * MiB; offset += 128 * KiB) {
    prefetch.read(handle, file, { offset, length: 128 * KiB });
    prefetch.pump();
  }
}

const ends: [string, (prefetch: Prefetch) => unknown][] = [
  ["jumps", (prefetch) => prefetch.read(7, version(1), { offset: 60 * MiB, length: 1 })],
  ["is released", (prefetch) => prefetch.release(7)],
  ["reads another version", (prefetch) => prefetch.read(7, version(2), { offset: 0, length: 1 })],
  ["is there when all is closed", (prefetch) => prefetch[Symbol.asyncDispose]()],
];

for (const [name, end] of ends) {
  Deno.test(`Prefetch gives up what it fetches for a handle that ${name}`, async () => {
    const { prefetch, signals } = hanging();
    stream(prefetch, 7, version(1));
    assert(signals.length > 0);
    assert(signals.every((signal) => !signal.aborted));
    await end(prefetch);
    assert(signals.every((signal) => signal.aborted));
    await prefetch[Symbol.asyncDispose]();
  });
}

Deno.test("Prefetch keeps handles apart, does nothing for handle 0, and is bounded", async () => {
  const { prefetch, signals } = hanging();
  stream(prefetch, 0, version(1));
  assert.equal(signals.length, 0);
  stream(prefetch, 7, version(1));
  const first = signals.length;
  stream(prefetch, 8, version(1));
  prefetch.release(8);
  assert(signals.slice(0, first).every((signal) => !signal.aborted));
  assert(signals.slice(first).every((signal) => signal.aborted));
  for (let handle = 100; handle < 200; handle += 1) stream(prefetch, handle, version(handle));
  assert(signals.filter((signal) => !signal.aborted).length <= 12);
  await prefetch[Symbol.asyncDispose]();
});
