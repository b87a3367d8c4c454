import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { libc } from "../../src/base/posix.ts";
import type { Operations } from "../../src/fuse/operations.ts";
import { IN_HEADER_BYTES, OPCODE } from "../../src/fuse/protocol.ts";
import { Reply } from "../../src/fuse/reply.ts";
import { serveSession, type SessionHooks } from "../../src/fuse/session.ts";

const AF_UNIX = 1;
/** A read gives one message, as of `/dev/fuse`. */
const SOCK_SEQPACKET = 5;
const SHUT_WR = 1;

const EIO = 5;
const NOTIFY_RESEND = 7;

/** Hooks that do nothing but what is given. */
function hooksWith(given: Partial<SessionHooks>): SessionHooks {
  const nothing = (): void => {};
  return {
    ...{ initialized: nothing, deferred: nothing, interrupted: nothing, failed: nothing },
    ...{ refresh: nothing, idle: nothing, longIdle: nothing, answeredRead: nothing },
    ...{ report: nothing, isReportUrgent: () => false, generation: () => 1 },
    ...given,
  };
}

function request(opcode: number, unique: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(IN_HEADER_BYTES + 16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, opcode, true);
  view.setUint32(8, unique, true);
  return bytes;
}

Deno.test("serveSession() answers a request that throws with EIO, and the next as if nothing were", () => {
  const pair = new Int32Array(2);
  assert.equal(libc.socketpair(AF_UNIX, SOCK_SEQPACKET, 0, new Uint8Array(pair.buffer)), 0);
  const [kernel = -1, ours = -1] = pair;
  const reply = new Reply({ uid: 0, gid: 0, umask: 0, ttlS: 1 });
  const failed: unknown[] = [];
  const answer = (request: DataView): number => {
    reply.begin(request.getUint32(8, true), 0);
    if (request.getUint32(8, true) === 4) throw new TypeError("a bug");
    return reply.done(0);
  };
  try {
    for (const unique of [2, 4, 6]) {
      const bytes = request(OPCODE.GETATTR, unique);
      assert.equal(Number(libc.write(kernel, bytes, BigInt(bytes.length))), bytes.length);
    }
    // What the kernel says when the mount is gone: the end, here.
    libc.shutdown(kernel, SHUT_WR);
    serveSession({
      descriptor: ours,
      operations: { answer } as unknown as Operations,
      reply,
      hooks: hooksWith({ failed: (opcode, error) => failed.push(opcode, error) }),
      clock: systemClock,
      passthrough: false,
      readAheadBytes: 0,
      inHand: new Uint32Array(2),
      asksForOwed: false,
      cores: 1,
    });
    assert.deepEqual(failed.map(String), [String(OPCODE.GETATTR), "TypeError: a bug"]);
    const told = [2, 4, 6].map(() => {
      const bytes = new Uint8Array(256);
      assert(libc.read(kernel, bytes, BigInt(bytes.length)) > 0);
      const view = new DataView(bytes.buffer);
      return [view.getUint32(8, true), view.getInt32(4, true)];
    });
    assert.deepEqual(told, [[2, 0], [4, -EIO], [6, 0]]);
  } finally {
    libc.close(kernel);
    libc.close(ours);
  }
});

/** Code or error, and unique, of what a session writes that finds one request waiting. */
function writtenWith({ asksForOwed }: { asksForOwed: boolean }): [code: number, unique: number][] {
  const pair = new Int32Array(2);
  assert.equal(libc.socketpair(AF_UNIX, SOCK_SEQPACKET, 0, new Uint8Array(pair.buffer)), 0);
  const [kernel = -1, ours = -1] = pair;
  const reply = new Reply({ uid: 0, gid: 0, umask: 0, ttlS: 1 });
  const answer = (request: DataView): number => {
    reply.begin(request.getUint32(8, true), 0);
    return reply.done(0);
  };
  const bytes = request(OPCODE.GETATTR, 2);
  libc.write(kernel, bytes, BigInt(bytes.length));
  libc.shutdown(kernel, SHUT_WR);
  serveSession({
    descriptor: ours,
    operations: { answer } as unknown as Operations,
    reply,
    hooks: hooksWith({}),
    clock: systemClock,
    passthrough: false,
    readAheadBytes: 0,
    inHand: new Uint32Array(2),
    asksForOwed,
    cores: 1,
  });
  libc.close(ours);
  const written: [code: number, unique: number][] = [];
  const message = new Uint8Array(256);
  const view = new DataView(message.buffer);
  while (libc.read(kernel, message, BigInt(message.length)) > 0) {
    written.push([view.getInt32(4, true), view.getUint32(8, true)]);
  }
  libc.close(kernel);
  return written;
}

Deno.test("serveSession() asks for what a predecessor owed before it reads, and only then", () => {
  const answer = [0, 2];
  assert.deepEqual(writtenWith({ asksForOwed: true }), [[NOTIFY_RESEND, 0], answer]);
  assert.deepEqual(writtenWith({ asksForOwed: false }), [answer]);
});
