import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { MusicfsError } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { libc, O_CREAT, O_RDWR, openFile } from "../../src/base/posix.ts";
import type { Operations } from "../../src/fuse/operations.ts";
import { IN_HEADER_BYTES, OPCODE } from "../../src/fuse/protocol.ts";
import { Reply } from "../../src/fuse/reply.ts";
import type { Library } from "../../src/library/library.ts";
import type { Namespace } from "../../src/library/namespace.ts";
import { DeferredRequests } from "../../src/mount/deferred_requests.ts";
import type { FileReader, ReadOptions } from "../../src/reader/file_reader.ts";
import { tempDir } from "../support/temp_dir.ts";

const EINTR = 4;
const EIO = 5;
const ESTALE = 116;

/** Requests whose reads end as `read` says, and the replies that were written, in order. */
async function answering(
  read: (options: ReadOptions) => Promise<Uint8Array<ArrayBuffer>>,
): Promise<
  & { requests: DeferredRequests; refreshed: number[]; replies: () => Map<number, string> }
  & AsyncDisposable
> {
  const dir = await tempDir("deferred");
  const descriptor = openFile(`${dir.path}/device`, O_RDWR | O_CREAT);
  const refreshed: number[] = [];
  const version = { sources: [{ path: "song.flac" }] };
  const requests = new DeferredRequests({
    descriptor,
    operations: {} as unknown as Operations,
    reply: new Reply({ uid: 0, gid: 0, umask: 0, ttlS: 1 }),
    namespace: { version: () => version } as unknown as Namespace,
    library: {
      refresh: (id: number) => Promise.resolve(void refreshed.push(id)),
    } as unknown as Library,
    reader: {
      read: (_: unknown, __: unknown, options: ReadOptions) => read(options),
      isHere: () => false,
    } as unknown as FileReader,
    clock: systemClock,
    log: silentLog,
  });
  return {
    requests,
    refreshed,
    replies: () => parseReplies(Deno.readFileSync(`${dir.path}/device`)),
    [Symbol.asyncDispose]: async () => {
      libc.close(descriptor);
      await dir[Symbol.asyncDispose]();
    },
  };
}

function readRequest(unique: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(IN_HEADER_BYTES + 40);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, OPCODE.READ, true);
  view.setUint32(8, unique, true);
  view.setUint32(16, 16 * 2 ** 20 + 1, true);
  view.setUint32(IN_HEADER_BYTES + 16, 4096, true);
  return bytes;
}

/** By `unique`: the bytes, or the errno. A second reply to one request fails the test. */
function parseReplies(written: Uint8Array<ArrayBuffer>): Map<number, string> {
  const replies = new Map<number, string>();
  const view = new DataView(written.buffer);
  for (let at = 0; at < written.length;) {
    const length = view.getUint32(at, true);
    const unique = view.getUint32(at + 8, true);
    assert(!replies.has(unique), `two replies to request ${unique}`);
    const error = -view.getInt32(at + 4, true);
    const body = new TextDecoder().decode(written.subarray(at + 16, at + length));
    replies.set(unique, error === 0 ? body : `errno ${error}`);
    at += length;
  }
  return replies;
}

/** Never ends but by its signal. */
function forever({ signal }: ReadOptions): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

Deno.test("DeferredRequests answers an interrupted reader EINTR, and nobody else", async () => {
  await using fixture = await answering(forever);
  const { requests, replies } = fixture;
  for (const unique of [2, 4, 6]) requests.accept(readRequest(unique));
  requests.interrupt(4, 0);
  requests.interrupt(99, 0);
  await setImmediate();
  assert.deepEqual([...replies()], [[4, `errno ${EINTR}`]]);
  assert.equal(requests.waiting, 2);
  await requests.stop();
  assert.deepEqual(new Set(replies().keys()), new Set([2, 4, 6]));
  assert.equal(replies().get(2), `errno ${EIO}`);
});

Deno.test("DeferredRequests gives the bytes that the reader found", async () => {
  const song = new TextEncoder().encode("music");
  await using fixture = await answering(() => Promise.resolve(song));
  fixture.requests.accept(readRequest(8));
  await fixture.requests.drained();
  assert.deepEqual([...fixture.replies()], [[8, "music"]]);
});

Deno.test("DeferredRequests says ESTALE of a changed file and has it looked at again", async () => {
  const changed = new MusicfsError("changed", "changed", { op: "test", subject: "song.flac" });
  await using fixture = await answering(() => Promise.reject(changed));
  fixture.requests.accept(readRequest(10));
  await fixture.requests.drained();
  assert.deepEqual([...fixture.replies()], [[10, `errno ${ESTALE}`]]);
  assert.deepEqual(fixture.refreshed, [16]);
});

Deno.test("DeferredRequests turns a bug into EIO for that request alone", async () => {
  let calls = 0;
  await using fixture = await answering(() => {
    calls += 1;
    return calls === 1 ? Promise.reject(new TypeError("oops")) : Promise.resolve(Uint8Array.of(65));
  });
  fixture.requests.accept(readRequest(12));
  fixture.requests.accept(readRequest(14));
  await fixture.requests.drained();
  assert.equal(fixture.replies().get(12), `errno ${EIO}`);
  assert.equal(fixture.replies().get(14), "A");
});
