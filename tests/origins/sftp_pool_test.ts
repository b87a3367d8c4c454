import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { Client, SFTPWrapper } from "ssh2";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { SftpPool } from "../../src/origins/sftp_pool.ts";
import { type Request, SftpSession, SILENT_MS_MAX } from "../../src/origins/sftp_session.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

type Done = (error?: Error | null, answer?: string) => void;

/** A connection whose answers a test gives. */
class FakeConnection {
  readonly client = new EventEmitter();
  readonly sftp = new EventEmitter();
  /** Requests without an answer. */
  readonly asked: Done[] = [];
  bytes = 0;
  isDestroyed = false;
  readonly session: SftpSession;

  constructor(clock: VirtualClock) {
    const ends = {
      end: (): void => void this.client.emit("close"),
      destroy: (): void => void (this.isDestroyed = true),
    };
    this.session = new SftpSession({
      client: Object.assign(this.client, ends) as unknown as Client,
      sftp: this.sftp as unknown as SFTPWrapper,
      bytesRead: () => this.bytes,
    }, { name: 'origin "nas"', clock });
  }

  readonly request: Request<string> = (_sftp, done) => void this.asked.push(done);

  answer(): void {
    this.asked.shift()?.(undefined, "answer");
  }
}

/** A pool whose connections a test makes. */
function pool(sessionsMax: number): {
  clock: VirtualClock;
  pool: SftpPool;
  connections: FakeConnection[];
  attempts: PromiseWithResolvers<SftpSession>[];
  connect: () => Promise<FakeConnection>;
  call: (signal?: AbortSignal, path?: string) => Promise<string | undefined>;
} {
  const clock = new VirtualClock();
  const attempts: PromiseWithResolvers<SftpSession>[] = [];
  const connections: FakeConnection[] = [];
  const made = new SftpPool({
    name: "nas",
    clock,
    sessionsMax,
    connect(): Promise<SftpSession> {
      const attempt = Promise.withResolvers<SftpSession>();
      attempts.push(attempt);
      return attempt.promise;
    },
  });
  return {
    clock,
    pool: made,
    connections,
    attempts,
    async connect(): Promise<FakeConnection> {
      const connection = new FakeConnection(clock);
      connections.push(connection);
      attempts.shift()?.resolve(connection.session);
      await clock.settle();
      return connection;
    },
    call: (signal = new AbortController().signal, path) =>
      made.use((session) => {
        const connection = connections.find((one) => one.session === session);
        return session.request(connection?.request ?? ((): void => undefined));
      }, { signal, path }),
  };
}

async function failure(code: ErrorCode, call: Promise<unknown>): Promise<MusicfsError> {
  const [result] = await Promise.allSettled([call]);
  assert(result.status === "rejected");
  assert(result.reason instanceof MusicfsError, String(result.reason));
  assert.equal(result.reason.code, code, result.reason.message);
  return result.reason;
}

function problem(code: ErrorCode): MusicfsError {
  return new MusicfsError(code, "no", { op: "sftp.connect", subject: "nas" });
}

Deno.test("SftpPool.use() shares one connection attempt, and its failure", async () => {
  const { pool: made, clock, attempts, call } = pool(4);
  await using _ = made;
  const calls = Array.from({ length: 10 }, () => failure("unavailable", call()));
  await clock.settle();
  assert.equal(attempts.length, 1);
  attempts.shift()?.reject(problem("unavailable"));
  assert.equal(new Set(await Promise.all(calls)).size, 1);
  // The next call tries again.
  const next = failure("unavailable", call());
  await clock.settle();
  assert.equal(attempts.length, 1);
  attempts.shift()?.reject(problem("unavailable"));
  await next;
});

Deno.test("SftpPool.use() remembers a refusal for five seconds", async () => {
  const { pool: made, clock, attempts, connect, connections, call } = pool(4);
  await using _ = made;
  const first = failure("denied", call());
  await clock.settle();
  attempts.shift()?.reject(problem("denied"));
  await first;
  await clock.advance(4_999);
  await failure("denied", call());
  assert.equal(attempts.length, 0);
  await clock.advance(1);
  const second = call();
  await clock.settle();
  await connect();
  connections[0]?.answer();
  assert.equal(await second, "answer");
});

Deno.test("SftpPool.use() opens more sessions when calls meet, one for each at most", async () => {
  const { pool: made, clock, attempts, connect, connections, call } = pool(4);
  await using _ = made;
  const calls = Array.from({ length: 20 }, () => call());
  await clock.settle();
  assert.equal(attempts.length, 1);
  await connect();
  assert.equal(attempts.length, 1);
  await connect();
  calls.push(...Array.from({ length: 20 }, () => call()));
  await clock.settle();
  assert.equal(attempts.length, 2);
  await connect();
  await connect();
  calls.push(...Array.from({ length: 40 }, () => call()));
  await clock.settle();
  assert.equal(attempts.length, 0);
  // The work is spread evenly, but for what was asked before there was more than one.
  assert.deepEqual(connections.map(({ asked }) => asked.length), [20, 20, 20, 20]);
  for (const connection of connections) while (connection.asked.length > 0) connection.answer();
  await Promise.all(calls);
});

Deno.test("SftpPool.use() leaves the queue for a connection with the signal's reason", async () => {
  const { pool: made, clock, attempts, call } = pool(4);
  await using _ = made;
  const aborting = new AbortController();
  const waiting = call(aborting.signal);
  await clock.settle();
  const reason = new Error("enough");
  aborting.abort(reason);
  await assert.rejects(waiting, (error) => error === reason);
  attempts.shift()?.reject(problem("unavailable"));
});

Deno.test("SftpPool.use() asks a new session where one has been silent for four seconds", async () => {
  const { pool: made, clock, attempts, connect, connections, call } = pool(1);
  await using _ = made;
  const stuck = failure("timed_out", call());
  await clock.settle();
  await connect();
  await clock.advance(3_999);
  const patient = failure("timed_out", call());
  await clock.settle();
  assert.equal(attempts.length, 0);
  await clock.advance(2);
  const next = call();
  await clock.settle();
  // There is room for one session only: the silent one is given up.
  await Promise.all([stuck, patient]);
  assert(connections[0]?.isDestroyed);
  await connect();
  connections[1]?.answer();
  assert.equal(await next, "answer");
});

Deno.test("SftpPool.use() waits for a server that is slow, and not out of reach", async () => {
  const { pool: made, clock, attempts, connect, connections, call } = pool(1);
  await using _ = made;
  const calls = [call()];
  await clock.settle();
  const connection = await connect();
  for (let i = 0; i < 8; i += 1) {
    // A keep-alive is answered, the request is not: a disk spins up.
    connection.bytes += 50;
    await clock.advance(2_000);
    calls.push(call());
    await clock.settle();
  }
  assert.equal(attempts.length, 0);
  for (let i = 0; i < 9; i += 1) connections[0]?.answer();
  await Promise.all(calls);
});

Deno.test("SftpPool.use() tries another connection beside one that takes long", async () => {
  const { pool: made, clock, attempts, connect, connections, call } = pool(2);
  await using _ = made;
  const first = call();
  await clock.settle();
  await clock.advance(4_001);
  const second = call();
  await clock.settle();
  assert.equal(attempts.length, 2);
  const third = call();
  await clock.settle();
  assert.equal(attempts.length, 2);
  attempts.reverse();
  await connect();
  for (let i = 0; i < 3; i += 1) connections[0]?.answer();
  assert.deepEqual(await Promise.all([first, second, third]), ["answer", "answer", "answer"]);
  attempts.shift()?.reject(problem("timed_out"));
});

Deno.test("SftpSession ends when the server owes an answer for too long, and not before", async () => {
  const clock = new VirtualClock();
  const connection = new FakeConnection(clock);
  const { session } = connection;
  const seconds = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i += 1) await clock.advance(1_000);
  };
  // An idle session may be silent for ever, and has no timer.
  await seconds(100);
  assert.deepEqual(clock.sleeping, []);
  const calls = Array.from({ length: 3 }, () => session.request(connection.request));
  const failures = calls.slice(1).map((call) => failure("timed_out", call));
  await seconds(15);
  connection.answer();
  assert.equal(await calls[0], "answer");
  await seconds(15);
  // Part of an answer came, which shows in the bytes.
  connection.bytes += 10_000;
  await seconds(15);
  assert(!session.isOver);
  await seconds(1 + SILENT_MS_MAX / 1_000 - 15);
  assert(session.isOver);
  await Promise.all(failures);
  assert(connection.isDestroyed);
  assert.deepEqual(clock.sleeping, []);
  // ssh2 would never call back.
  await failure("timed_out", session.request(connection.request));
  assert.equal(connection.asked.length, 2);
});

Deno.test("SftpSession rejects all that is under way when the connection ends, however it does", async () => {
  for (const event of ["error", "end", "close"]) {
    for (const end of ["client", "sftp"] as const) {
      const connection = new FakeConnection(new VirtualClock());
      const call = failure("unavailable", connection.session.request(connection.request));
      connection[end].emit(event, new Error("broken"));
      const error = await call;
      assert.match(error.message, /Lost the session with origin "nas"/);
      // A late answer does no harm.
      connection.answer();
      assert(connection.session.isOver);
    }
  }
});

Deno.test("SftpHandles keeps 32 files open, and none for longer than ten seconds", async () => {
  const clock = new VirtualClock();
  const connection = new FakeConnection(clock);
  const { session } = connection;
  const closed: string[] = [];
  Object.assign(connection.sftp, {
    open: (path: string, _flags: string, done: (error: undefined, handle: Uint8Array) => void) =>
      done(undefined, new TextEncoder().encode(path)),
    realpath: (path: string, done: (error: undefined, path: string) => void) =>
      done(undefined, path),
    close: (handle: Uint8Array, done: () => void) => {
      closed.push(new TextDecoder().decode(handle));
      done();
    },
  });
  for (let i = 0; i < 40; i += 1) session.handles.release(session.handles.take(`/${i}`));
  await clock.settle();
  assert.equal(session.handles.size, 32);
  assert.deepEqual(closed, Array.from({ length: 8 }, (_, i) => `/${i}`));
  const used = session.handles.take("/39");
  for (let i = 0; i < 11; i += 1) await clock.advance(1_000);
  assert.equal(session.handles.size, 1);
  assert.equal(closed.length, 39);
  session.handles.release(used);
  for (let i = 0; i < 11; i += 1) await clock.advance(1_000);
  assert.equal(session.handles.size, 0);
  assert.equal(closed.length, 40);
  // Nothing ticks for a session that has nothing to wait for.
  assert.deepEqual(clock.sleeping, []);
});
