import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { EndedError, HttpConnection, HttpError, type Wire } from "../../src/origins/s3_http.ts";

const BODY = Uint8Array.from({ length: 300 }, (_, i) => i % 251);
const REQUEST = new Uint8Array([1, 2, 3]);

const LENGTH =
  `HTTP/1.1 206 Partial Content\r\nETag: "e"\r\nContent-Length: ${BODY.length}\r\n\r\n`;
const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/** The same body, framed in two ways; each can be followed by another answer. */
const ANSWERS: readonly Buffer[] = [
  Buffer.concat([Buffer.from(LENGTH), BODY]),
  Buffer.concat([
    Buffer.from(`${CHUNKED}${(100).toString(16)};ext=1\r\n`),
    BODY.subarray(0, 100),
    Buffer.from("\r\nC8\r\n"),
    BODY.subarray(100),
    Buffer.from("\r\n0\r\nTrailer: x\r\n\r\n"),
  ]),
];

Deno.test("HttpConnection reads an answer alike, however it is cut into pieces", async () => {
  const cuts = fc.array(fc.nat(800), { maxLength: 20 });
  await fc.assert(fc.asyncProperty(fc.constantFrom(...ANSWERS), cuts, async (answer, cuts) => {
    const wire = new PieceWire(pieces(Buffer.concat([answer, answer]), cuts));
    const connection = new HttpConnection(wire);
    for (let turn = 0; turn < 2; turn += 1) {
      await connection.request(REQUEST);
      const into = new Uint8Array(BODY.length);
      assert.equal(await connection.readInto(into), BODY.length);
      assert.deepEqual(into, BODY);
    }
    assert(connection.isReusable);
    assert.deepEqual(wire.written, [1, 2, 3, 1, 2, 3]);
  }));
});

Deno.test("HttpConnection never takes an answer that is cut short for a whole one", async () => {
  for (const answer of ANSWERS) {
    const start = answer.indexOf("\r\n\r\n") + 4;
    for (let end = 0; end < answer.length; end += 1) {
      const wire = (): PieceWire => new PieceWire([answer.subarray(0, end)]);
      const connection = new HttpConnection(wire());
      if (end < start) {
        await assert.rejects(connection.request(REQUEST), EndedError);
        assert.equal(connection.hasAnswer, end > 0);
        continue;
      }
      await connection.request(REQUEST);
      assert.equal(await connection.readText({ bytesMax: 1_000 }), undefined);
      const again = new HttpConnection(wire());
      await again.request(REQUEST);
      const into = new Uint8Array(BODY.length);
      const n = await again.readInto(into);
      assert.deepEqual(into.subarray(0, n), BODY.subarray(0, n));
      assert(n < BODY.length || end >= answer.length - 20, String(end));
      assert(!connection.isReusable && !again.isReusable);
    }
  }
});

Deno.test("HttpConnection.readInto() tells that there was more, and then is not used again", async () => {
  for (const answer of ANSWERS) {
    for (const extra of ["", "GARBAGE"]) {
      const wire = new PieceWire([Buffer.concat([answer, Buffer.from(extra)])]);
      const connection = new HttpConnection(wire);
      await connection.request(REQUEST);
      assert.equal(await connection.readInto(new Uint8Array(299)), 300);
      assert(!connection.isReusable || answer === ANSWERS[0] && extra === "");
    }
  }
  const endless = new HttpConnection(new PieceWire([Buffer.from("HTTP/1.0 200 OK\r\n\r\nbody")]));
  await endless.request(REQUEST);
  assert.equal(await endless.readText({ bytesMax: 4 }), "body");
  assert(!endless.isReusable);
});

Deno.test("HttpConnection.readText() stops at its limit", async () => {
  for (const answer of ANSWERS) {
    const connection = new HttpConnection(new PieceWire([answer]));
    await connection.request(REQUEST);
    assert.equal(await connection.readText({ bytesMax: 299 }), undefined);
  }
});

Deno.test("HttpConnection passes over interim answers and joins headers of one name", async () => {
  const text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" +
    "HTTP/1.1 404 \r\nX-A: 1\r\nx-a:2 \r\nContent-Length: 0\r\n\r\n";
  const connection = new HttpConnection(new PieceWire([Buffer.from(text)]));
  const { status, headers } = await connection.request(REQUEST);
  assert.deepEqual([status, headers.get("x-a"), headers.get("link")], [404, "1, 2", undefined]);
  assert.equal(await connection.readText({ bytesMax: 9 }), "");
  assert(connection.isReusable);
});

Deno.test("HttpConnection is not used again where the server ends it or its end is in doubt", async () => {
  const heads = [
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
  ];
  for (const head of heads) {
    const connection = new HttpConnection(new PieceWire([Buffer.from(head)]));
    await connection.request(REQUEST);
    assert.equal(await connection.readText({ bytesMax: 9 }), "", head);
    assert(!connection.isReusable, head);
  }
});

Deno.test("HttpConnection refuses what is not HTTP", async () => {
  const heads = [
    "hello\r\n\r\n",
    "HTTP/2 200\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "HTTP/1.1 101 Switching\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n".repeat(20),
    `HTTP/1.1 200 OK\r\nA: ${"a".repeat(20_000)}\r\n\r\n`,
  ];
  for (const head of heads) {
    const connection = new HttpConnection(new PieceWire([Buffer.from(head)]));
    await assert.rejects(connection.request(REQUEST), HttpError, head);
    assert(!connection.isReusable);
  }
  for (
    const chunk of ["x\r\n", "-1\r\n", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffff\r\n", "\r\n"]
  ) {
    const connection = new HttpConnection(new PieceWire([Buffer.from(CHUNKED + chunk)]));
    await connection.request(REQUEST);
    assert.equal(await connection.readText({ bytesMax: 1_000 }), undefined, chunk);
  }
});

/** A connection that gives these pieces, and then its end. */
class PieceWire implements Wire {
  readonly written: number[] = [];
  readonly #pieces: Uint8Array[];

  constructor(pieces: Uint8Array[]) {
    this.#pieces = pieces.filter(({ length }) => length > 0);
  }

  read(into: Uint8Array): Promise<number | null> {
    const piece = this.#pieces.shift();
    if (!piece) return Promise.resolve(null);
    const n = Math.min(piece.length, into.length);
    into.set(piece.subarray(0, n));
    if (n < piece.length) this.#pieces.unshift(piece.subarray(n));
    return Promise.resolve(n);
  }

  write(bytes: Uint8Array): Promise<number> {
    this.written.push(bytes[0] ?? -1);
    return Promise.resolve(1);
  }

  close(): void {}
}

function pieces(bytes: Uint8Array, cuts: number[]): Uint8Array[] {
  const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}
