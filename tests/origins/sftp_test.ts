import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import type { CallOptions, OriginEntry, OriginFile } from "../../src/origins/origin.ts";
import { PartialRead } from "../../src/origins/partial_read.ts";
import type { SftpOrigin } from "../../src/origins/sftp.ts";
import {
  attrs,
  fileAttrs,
  nameOf,
  type Script,
  scriptedServer,
  status,
} from "./scripted_sftp_server.ts";

const file: OriginFile = { path: "song", size: 8, version: "8-1600000000000000000" };
const whole = { offset: 0, length: 8 };
const song = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]);

function never(): CallOptions {
  return { signal: new AbortController().signal };
}

async function failure(code: ErrorCode, call: Promise<unknown>): Promise<MusicfsError> {
  const [result] = await Promise.allSettled([call]);
  assert(result.status === "rejected");
  assert(result.reason instanceof MusicfsError, String(result.reason));
  assert.equal(result.reason.code, code, result.reason.message);
  return result.reason;
}

function list(origin: SftpOrigin, folder = ""): Promise<OriginEntry[]> {
  return Array.fromAsync(origin.list(folder, never()));
}

Deno.test("SftpOrigin answers a server that asks for the password", async () => {
  await using server = await scriptedServer({ asks: true });
  assert.deepEqual((await list(server.origin)).map(({ path }) => path), ["song"]);
});

Deno.test("SftpOrigin.read() asks in two turns, and in one of a file that it has open", async () => {
  await using server = await scriptedServer({});
  assert.deepEqual(await server.origin.read(file, whole, never()), song);
  // The first three need no answer of each other, and neither do the next two.
  assert.deepEqual(server.requests, ["OPEN", "REALPATH", "REALPATH", "READ", "FSTAT"]);
  server.requests.length = 0;
  assert.deepEqual(await server.origin.read(file, whole, never()), song);
  assert.deepEqual(server.requests, ["READ", "FSTAT"]);
});

Deno.test("SftpOrigin.stat() of what is to be read opens it beside, and the read sees no old file", async () => {
  await using server = await scriptedServer({});
  const { version } = await server.origin.stat("song", { ...never(), isToBeRead: true });
  assert(server.requests.includes("OPEN"));
  server.requests.length = 0;
  assert.deepEqual(await server.origin.read({ ...file, version }, whole, never()), song);
  assert(!server.requests.includes("OPEN"), "it is open");
});

Deno.test("SftpOrigin.connect() sends no request, and the next call finds it done", async () => {
  await using server = await scriptedServer({});
  await server.origin.connect(never());
  assert.deepEqual(server.requests, []);
  assert.deepEqual(await server.origin.read(file, whole, never()), song);
  await server.origin[Symbol.asyncDispose]();
});

Deno.test("SftpOrigin.list() sends the second READDIR before the first is answered", async () => {
  const held: (() => void)[] = [];
  let isFirst = true;
  await using server = await scriptedServer({
    readdir(sftp, id): void {
      if (isFirst) held.push(() => sftp.name(id, [nameOf("song")]));
      else held.push(() => sftp.status(id, status.eof));
      isFirst = false;
      // Nobody is answered until both have come.
      if (held.length === 2) { for (const answer of held) answer(); }
    },
  });
  assert.equal((await list(server.origin, "album")).length, 1);
});

Deno.test("SftpOrigin.list() skips names that no folder can hold, and says each once", async () => {
  let answers = 0;
  await using server = await scriptedServer({
    readdir(sftp, id): void {
      answers += 1;
      if (answers > 2) return sftp.status(id, status.eof);
      sftp.name(
        id,
        ["..", ".", "", "a/b", "/etc/passwd", "../up", "a\0b", "n".repeat(256), "good", "good"]
          .map((name) => nameOf(name)),
      );
    },
  });
  assert.deepEqual((await list(server.origin)).map(({ path }) => path), ["good"]);
});

Deno.test("SftpOrigin.list() asks again for what a listing left out, and then gives up", async () => {
  const bare = { mode: 0o100644 } as typeof fileAttrs;
  const readdir: NonNullable<Script["readdir"]> = (() => {
    let answers = 0;
    return (sftp, id) => {
      answers += 1;
      if (answers % 2 === 0) return sftp.status(id, status.eof);
      sftp.name(id, [{ filename: "song", longname: "", attrs: bare }]);
    };
  })();
  {
    await using server = await scriptedServer({ readdir });
    assert.deepEqual((await list(server.origin)).map(({ size }) => size), [8]);
  }
  await using server = await scriptedServer({
    readdir,
    lstat: (sftp, id) => sftp.attrs(id, bare),
  });
  await failure("unavailable", list(server.origin));
});

Deno.test("SftpOrigin.list() throws when a listing breaks off: it is never taken for complete", async () => {
  const breaks: NonNullable<Script["readdir"]>[] = [
    (sftp, id) => sftp.status(id, status.failure),
    (sftp, id) => sftp.status(id, status.ok),
    (sftp, id) => sftp.handle(id, Buffer.from("what")),
    (sftp, id) => sftp.data(id, Buffer.from("what")),
    (sftp, id) => sftp.attrs(id, fileAttrs),
    (sftp, id) => sftp.name(id, []),
    (sftp) => sftp.destroy(),
  ];
  for (const last of breaks) {
    let answers = 0;
    await using server = await scriptedServer({
      readdir(sftp, id): void {
        answers += 1;
        if (answers === 1) sftp.name(id, [nameOf("song")]);
        else last(sftp, id);
      },
    });
    await failure("unavailable", list(server.origin));
  }
});

Deno.test("SftpOrigin.read() asks on where a server answers short", async () => {
  await using server = await scriptedServer({
    read: (sftp, id, offset) => sftp.data(id, Buffer.from(song.subarray(offset, offset + 3))),
  });
  assert.deepEqual(await server.origin.read(file, whole, never()), song);
  // The version is asked for again after what was asked on.
  assert.equal(server.requests.at(-1), "FSTAT");
});

Deno.test("SftpOrigin.read() takes no more bytes than it asked for", async () => {
  await using server = await scriptedServer({
    read: (sftp, id) => sftp.data(id, Buffer.alloc(1_000, 7)),
  });
  const read = await server.origin.read(file, { offset: 2, length: 3 }, never());
  assert.deepEqual(read, new Uint8Array(3).fill(7));
});

Deno.test("SftpOrigin.read() throws for an end before the end, and for garbage", async () => {
  const answers: NonNullable<Script["read"]>[] = [
    (sftp, id) => sftp.status(id, status.eof),
    (sftp, id) => sftp.status(id, status.ok),
    (sftp, id) => sftp.data(id, Buffer.alloc(0)),
    (sftp, id) => sftp.attrs(id, fileAttrs),
    (sftp, id) => sftp.name(id, [nameOf("song")]),
    (sftp, id) => sftp.handle(id, Buffer.from("what")),
    (sftp, id) => sftp.status(id, status.failure),
  ];
  for (const read of answers) {
    await using server = await scriptedServer({ read });
    await failure("unavailable", server.origin.read(file, whole, never()));
  }
  for (const size of [7, 9]) {
    await using server = await scriptedServer({
      read: (sftp, id) => sftp.status(id, status.eof),
      fstat: (sftp, id) => sftp.attrs(id, attrs({ size })),
    });
    await failure("changed", server.origin.read(file, whole, never()));
  }
});

Deno.test("SftpOrigin.read() believes no partial body before it knows the version", async () => {
  const large = { ...file, size: 1_000_000, version: "1000000-1600000000000000000" };
  for (const isKnown of [true, false]) {
    let server: Awaited<ReturnType<typeof scriptedServer>> | undefined;
    const cutting = await scriptedServer({
      fstat(sftp, id): void {
        if (isKnown) sftp.attrs(id, attrs({ size: large.size }));
      },
      read(sftp, id, offset, length): void {
        if (offset === 0) sftp.data(id, Buffer.alloc(length, 5));
        else setTimeout(() => server?.cut(), 0);
      },
    });
    await using _cutting = server = cutting;
    // The first answer is here before the connection breaks.
    const range = { offset: 0, length: 1_000_000 };
    const error = await failure("unavailable", cutting.origin.read(large, range, never()));
    if (isKnown) {
      assert(error instanceof PartialRead);
      // What ssh2 asks of a server that it does not know, in one request.
      assert.equal(error.received.length, 31_952);
      assert(error.received.every((byte) => byte === 5));
    } else {
      assert(!(error instanceof PartialRead));
    }
  }
});

Deno.test("SftpOrigin throws for answers of another kind than was asked for", async () => {
  const garbage: Script[] = [
    { open: (sftp, id) => sftp.attrs(id, fileAttrs) },
    { open: (sftp, id) => sftp.status(id, status.ok) },
    { open: (sftp, id) => sftp.handle(id, Buffer.alloc(0)) },
    { fstat: (sftp, id) => sftp.status(id, status.failure) },
  ];
  for (const script of garbage) {
    await using server = await scriptedServer(script);
    await failure("unavailable", server.origin.read(file, whole, never()));
  }
  const kinds: NonNullable<Script["lstat"]>[] = [
    (sftp, id) => sftp.handle(id, Buffer.from("what")),
    (sftp, id) => sftp.status(id, status.ok),
    (sftp, id) => sftp.name(id, [nameOf("song")]),
  ];
  for (const lstat of kinds) {
    await using server = await scriptedServer({ lstat });
    await failure("unavailable", server.origin.stat("song", never()));
  }
});

Deno.test("SftpOrigin works with a server that resolves no paths", async () => {
  await using server = await scriptedServer({
    realpath: (sftp, id) => sftp.status(id, status.failure),
  });
  assert.equal((await list(server.origin, "album")).length, 1);
  assert.deepEqual(await server.origin.read(file, whole, never()), song);
  assert.equal((await server.origin.stat("song", never())).size, 8);
});
