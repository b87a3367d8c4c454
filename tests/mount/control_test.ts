import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import type {
  DaemonCommands,
  ScanOptions,
  StatusResult,
  VerifyResult,
  WarmOptions,
} from "../../src/mount/cache_commands.ts";
import { type ControlHandler, serveControl } from "../../src/mount/control.ts";
import { callDaemon, NoDaemonError } from "../../src/mount/control_client.ts";
import { CONTROL_LINE_BYTES_MAX, encodeLine, linesOf } from "../../src/mount/control_protocol.ts";
import { tempDir } from "../support/temp_dir.ts";
import { commandsOf } from "./fake_commands.ts";

const verified: VerifyResult = {
  checked_chunks: 3,
  checked_bytes: 9,
  bad_chunks: 0,
  missing_chunks: 0,
  bad_extent_blocks: 0,
  repaired_chunks: 0,
  repaired_extent_blocks: 0,
  paths: [],
  seconds: 0.1,
};

async function serve(
  path: string,
  some: Partial<DaemonCommands>,
  streams: Record<string, ControlHandler> = {},
): ReturnType<typeof serveControl> {
  return await serveControl({ path, commands: commandsOf(some), streams, log: silentLog });
}

Deno.test("callDaemon() gets progress in order, then the result", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  await using _server = await serve(path, {
    verify: ({ repair, onProgress }) => {
      assert(repair);
      for (const checked_chunks of [1, 2, 3]) {
        onProgress?.({ checked_chunks, total_chunks: 3, checked_bytes: 1, bad_chunks: 0 });
      }
      return Promise.resolve(verified);
    },
  });
  const seen: unknown[] = [];
  const result = await callDaemon(path, "verify", {
    args: { repair: true },
    onProgress: (progress) => seen.push(progress),
  });
  assert.deepEqual(result, verified);
  assert.deepEqual(seen.map((progress) => Object(progress).checked_chunks), [1, 2, 3]);
});

Deno.test("serveControl() lets nobody else in, and replaces what a dead daemon left", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  await Deno.writeTextFile(path, "left behind");
  {
    await using _server = await serve(path, { unmount: () => Promise.resolve() });
    assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    assert.deepEqual(await callDaemon(path, "unmount"), {});
  }
  await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
});

Deno.test("callDaemon() throws NoDaemonError where nobody listens", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  await assert.rejects(callDaemon(path, "status"), NoDaemonError);
  Deno.listen({ transport: "unix", path }).close(); // The file stays, as after a crash.
  await assert.rejects(callDaemon(path, "status"), NoDaemonError);
});

Deno.test("serveControl() answers errors with their code, and hides none", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  const context = { op: "test", subject: "x" };
  await using _server = await serve(path, {
    status: () => Promise.reject(new MusicfsError("full", "Cannot write", context)),
    unmount: () => Promise.reject(new TypeError("a bug")),
  });
  const cases = [
    ["status", {}, "full", "Cannot write"],
    ["unmount", {}, "unavailable", "a bug"],
    ["dance", {}, "invalid", "dance"],
    ["gc", { dryRun: "yes" }, "invalid", "arguments"],
    ["gc", { dryRun: true, maxSizeBytes: -1 }, "invalid", "arguments"],
    ["verify", { repair: true, more: 1 }, "invalid", "arguments"],
  ] as const;
  for (const [command, args, code, words] of cases) {
    await assert.rejects(
      callDaemon(path, command, { args }),
      (error) =>
        error instanceof MusicfsError && error.code === code && error.message.includes(words),
      command,
    );
  }
});

Deno.test("a client that goes away ends its own wait, and not the command", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  const begun = Promise.withResolvers<ScanOptions>();
  const finish = Promise.withResolvers<void>();
  let finished = false;
  const status = { pid: 1 } as StatusResult;
  await using server = await serve(path, {
    scan: async (options) => {
      begun.resolve(options);
      await finish.promise;
      finished = true;
      return { origins: [] };
    },
    status: () => Promise.resolve(status),
  });
  const leave = new AbortController();
  const args = { checksum: false, acceptDeletions: false };
  const waiting = callDaemon(path, "scan", { args, signal: leave.signal });
  await begun.promise;
  leave.abort(new Error("gone"));
  await assert.rejects(waiting, /gone/);
  assert.deepEqual(await callDaemon(path, "status"), status);
  assert.equal(server.running, 1);
  finish.resolve();
  await callDaemon(path, "status");
  assert(finished);
});

Deno.test("warm and pin end with their client, and that is no error", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  for (const command of ["warm", "pin"] as const) {
    const begun = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<unknown>();
    const errors: string[] = [];
    const untilGone = ({ paths, signal, onProgress }: WarmOptions): Promise<never> => {
      assert.deepEqual(paths, [{ typed: "A", candidates: ["A"] }]);
      const counts = { done_files: 0, total_files: 1, done_bytes: 0, total_bytes: 1 };
      onProgress?.({ ...counts, fetched_bytes: 0 });
      signal?.addEventListener("abort", () => ended.resolve(signal.reason));
      return ended.promise.then((reason) => Promise.reject(reason));
    };
    await using _server = await serveControl({
      path,
      commands: commandsOf({ warm: untilGone, pin: untilGone }),
      log: { ...silentLog, error: (message) => errors.push(message) },
    });
    const leave = new AbortController();
    const waiting = callDaemon(path, command, {
      args: { paths: [{ typed: "A", candidates: ["A"] }] },
      onProgress: () => begun.resolve(),
      signal: leave.signal,
    });
    await begun.promise;
    leave.abort(new Error("gone"));
    await assert.rejects(waiting, /gone/);
    await ended.promise;
    assert.deepEqual(errors, []);
    await assert.rejects(callDaemon(path, command, { args: { paths: [] } }), { code: "invalid" });
  }
});

Deno.test("a stream ends when its client goes away", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  const ended = Promise.withResolvers<void>();
  const leave = new AbortController();
  await using _server = await serve(path, {}, {
    events: (_args, { progress, gone }) => {
      progress("first");
      return new Promise((resolve) =>
        gone.addEventListener("abort", () => {
          ended.resolve();
          resolve({});
        })
      );
    },
  });
  const waiting = callDaemon(path, "events", {
    onProgress: () => leave.abort(new Error("enough")),
    signal: leave.signal,
  });
  await assert.rejects(waiting, /enough/);
  await ended.promise;
});

Deno.test("callDaemon() says so when the daemon ends before its answer", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  const begun = Promise.withResolvers<void>();
  const server = await serve(path, {
    status: () => {
      begun.resolve();
      return new Promise(() => {});
    },
  });
  const waiting = callDaemon(path, "status");
  await begun.promise;
  await Promise.all([
    assert.rejects(waiting, (error) => error instanceof MusicfsError && error.retryable),
    server[Symbol.asyncDispose](),
  ]);
});

Deno.test("serveControl() answers several requests of one connection, garbage, and other versions", async () => {
  await using dir = await tempDir("control");
  const path = `${dir.path}/control.sock`;
  await using _server = await serve(path, { unmount: () => Promise.resolve() });
  using connection = await Deno.connect({ transport: "unix", path });
  const requests = [
    { version: 1, id: 7, command: "unmount", args: {} },
    { version: 2, id: 8, command: "unmount", args: {} },
  ];
  await connection.write(new TextEncoder().encode("garbage\n\n"));
  for (const request of requests) await connection.write(encodeLine(request));
  const answers: unknown[] = [];
  for await (const line of linesOf(connection.readable)) {
    answers.push(JSON.parse(line));
    if (answers.length === 3) break;
  }
  const ids = answers.map((answer) => [Object(answer).id, Object(answer).error?.code]);
  assert.deepEqual(ids.sort(), [[-1, "invalid"], [7, undefined], [8, "invalid"]].sort());
});

Deno.test("serveControl() works in a folder whose name is too long for a socket", async () => {
  await using dir = await tempDir("control");
  const folder = `${dir.path}/${"long".repeat(50)}`;
  await Deno.mkdir(folder);
  const path = `${folder}/control.sock`;
  await using _server = await serve(path, { unmount: () => Promise.resolve() });
  assert.deepEqual(await callDaemon(path, "unmount"), {});
});

Deno.test("linesOf() cuts lines wherever the parts end, and refuses endless ones", async () => {
  const text = '{"a":"ü"}\n\n{"b":2}\nrest';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size += 1) {
    const parts = Array.from(
      { length: Math.ceil(bytes.length / size) },
      (_, at) => bytes.slice(at * size, (at + 1) * size),
    );
    assert.deepEqual(await Array.fromAsync(linesOf(iterate(parts))), ['{"a":"ü"}', '{"b":2}']);
  }
  const endless = iterate(Array.from({ length: 17 }, () => new Uint8Array(1024 * 1024).fill(65)));
  assert(CONTROL_LINE_BYTES_MAX < 17 * 1024 * 1024);
  await assert.rejects(Array.fromAsync(linesOf(endless)), MusicfsError);
});

async function* iterate(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield await Promise.resolve(part);
}
