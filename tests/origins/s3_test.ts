import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import type { Log } from "../../src/base/log.ts";
import { plainFields } from "../../src/base/log_fields.ts";
import { TreeFold } from "../../src/library/tree_fold.ts";
import type { OriginEntry, TreeCursor } from "../../src/origins/origin.ts";
import { PartialRead } from "../../src/origins/partial_read.ts";
import { S3Origin } from "../../src/origins/s3.ts";
import { type Held, type OriginFixture, testOriginContract } from "../contracts/origin_contract.ts";
import { contents, errorAnswer, type FakeAnswer, FakeS3, listing } from "../support/fake_s3.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const SECRET = "very-secret-key";
const TOKEN = "very-secret-token";
const KEYS: Record<string, string> = {
  AWS_ACCESS_KEY_ID: "AKIATEST",
  AWS_SECRET_ACCESS_KEY: SECRET,
  AWS_SESSION_TOKEN: TOKEN,
};
const SONG = new Uint8Array(1_000).map((_, i) => i % 251);
const COMPLETE = "<KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>";
const noSignal = (): { signal: AbortSignal } => ({ signal: new AbortController().signal });

testOriginContract("S3Origin at a server in memory", async (held) => {
  const fake = await FakeS3.start();
  for (const [path, what] of Object.entries(held)) hold(fake, path, what);
  return {
    ...opened(fake),
    replace: (path, bytes) => Promise.resolve(fake.put(path, bytes)),
    remove: (path) => Promise.resolve(fake.remove(path)),
  };
}, { symlinks: false });

/** Every folder and what is in it, from listings of everything. */
async function treeOf(origin: S3Origin): Promise<Map<string, OriginEntry[]>> {
  const fold = new TreeFold(new Set());
  let cursor: TreeCursor | undefined;
  do {
    const page = await origin.listTree(cursor, noSignal());
    for (const entry of page.entries) fold.take(entry);
    cursor = page.next;
  } while (cursor);
  return new Map(
    fold.finish().map(({ path, listing }) => [
      path,
      Array.from({ length: listing.count }, (_, place) => listing.at(place)),
    ]),
  );
}

Deno.test("S3Origin asks only for ListObjectsV2 and for objects, signed and at one bucket", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake, "cds/old/");
  fake.put("cds/old/a b.flac", SONG);
  const [entry] = await list(fixture.origin, "");
  assert(entry && entry.kind === "file");
  await fixture.origin.stat("", noSignal());
  assert.deepEqual(await fixture.origin.stat("a b.flac", noSignal()), entry);
  await fixture.origin.read(entry, { offset: 990, length: 10 }, noSignal());
  assert.deepEqual(
    fake.requests.map(({ key, query }) => [key, query.get("list-type"), query.get("prefix")]),
    [["", "2", "cds/old/"], ["", "2", "cds/old/"], ["", "2", "cds/old/a b.flac"], [
      "cds/old/a b.flac",
      undefined,
      undefined,
    ]],
  );
  for (const { headers } of fake.requests) {
    assert.match(headers.get("authorization") ?? "", /^AWS4-HMAC-SHA256 Credential=AKIATEST\//);
    assert.equal(headers.get("x-amz-security-token"), TOKEN);
  }
  assert.equal(fake.connections, 1);
});

Deno.test("S3Origin.list() goes through all pages, shows a key with a folder as the folder", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake, "m");
  fake.pageKeysMax = 2;
  const odd = ["+ %2B", "a\nb", "\u{1F3B5}", "\u0001", "&lt;'\"", "a ~é", "ctl\r"];
  for (const name of odd) fake.put(`m/${name}`, SONG);
  for (const key of ["x", "x y", "x-1", "x.", "x/y", "m/", "empty/", "q//r", "../z", "/w"]) {
    fake.put(`m/${key}`, SONG);
  }
  fake.put("m/", SONG);
  fake.put("other", SONG);
  let progress = 0;
  const options = { ...noSignal(), onProgress: () => progress += 1 };
  const entries = await Array.fromAsync(fixture.origin.list("", options));
  const found = entries.map(({ path, kind }) => `${kind} ${path}`).sort();
  const files = [...odd, "x y", "x-1", "x."].map((name) => `file ${name}`);
  assert.deepEqual(found, [...files, "folder empty", "folder m", "folder q", "folder x"].sort());
  assert(progress >= fake.requests.length, String(progress));
  for (const entry of entries) {
    assert.deepEqual(await fixture.origin.stat(entry.path, noSignal()), entry);
  }
  assert.deepEqual(await list(fixture.origin, "empty"), []);
  assert.deepEqual(await list(fixture.origin, "q"), []);
});

Deno.test("S3Origin.list() asks for a page only when the one before was taken", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  fake.pageKeysMax = 2;
  for (const key of ["a", "b", "c", "d", "e"]) fake.put(key, SONG);
  for await (const { path } of fixture.origin.list("", noSignal())) {
    if (path === "a") break;
  }
  assert.equal(fake.requests.length, 1);
});

Deno.test("S3Origin.listTree() makes of odd keys what list() makes of them", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake, "m");
  fake.pageKeysMax = 2;
  const odd = ["../z", "/w", "a//b", "a/./c", "b/..", "b/c/../d", "d.", "e/", "e/f/", "g//", "x"];
  for (const key of [...odd, "x-1", "x.", "x/y", "", "\uFF01/1", "\u{1F3B5}/1"]) {
    fake.put(`m/${key}`, SONG);
  }
  fake.put("n/z", SONG);
  const folders = await treeOf(fixture.origin);
  for (const [path, entries] of folders) {
    const byPath = (a: OriginEntry, b: OriginEntry): number => a.path < b.path ? -1 : 1;
    assert.deepEqual(entries.sort(byPath), (await list(fixture.origin, path)).sort(byPath), path);
  }
  const paths = ["", "a", "b", "b/c", "e", "e/f", "g", "x", "\u{1F3B5}", "\uFF01"];
  assert.deepEqual([...folders.keys()].sort(), paths.sort());
});

Deno.test("S3Origin.listTree() shows the folder of a key that is not UTF-8", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  const keys = contents("a/x", 1).replace("a/x", "a/b/%FFc/d") + contents("b", 1);
  fake.answer = ({ query }) =>
    query.has("delimiter") ? undefined : {
      status: 200,
      body: listing("<KeyCount>2</KeyCount><IsTruncated>false</IsTruncated>" + keys),
    };
  const folders = await treeOf(fixture.origin);
  assert.deepEqual([...folders.keys()].sort(), ["", "a", "a/b"]);
});

Deno.test("S3Origin.listTree() is invalid where keys come in another order; list() goes on", async () => {
  const disordered = [["b", "a"], ["a", "a"], ["\u{1F3B5}", "\uFF01"]] as const;
  for (const [first, second] of disordered) {
    await using fake = await FakeS3.start();
    await using fixture = opened(fake);
    const page = (key: string, more: string): FakeAnswer => ({
      status: 200,
      body: listing(`<KeyCount>1</KeyCount>${more}${contents(key, 1)}`),
    });
    const more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
    fake.answer = ({ query }) =>
      query.has("continuation-token")
        ? page(second, "<IsTruncated>false</IsTruncated>")
        : page(first, more);
    await rejects("invalid", treeOf(fixture.origin), /order/);
    fake.answer = () => undefined;
    fake.put("x", SONG);
    await rejects("invalid", treeOf(fixture.origin), /order/);
    assert.deepEqual((await list(fixture.origin, "")).map(({ path }) => path), ["x"]);
  }
});

Deno.test("S3Origin.listTree() never takes garbage for an empty or complete listing", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  const token = "<NextContinuationToken>t</NextContinuationToken>";
  const bad = [
    "",
    "<KeyCount>0</KeyCount>",
    "<KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>",
    "<KeyCount>0</KeyCount><IsTruncated>true</IsTruncated>",
    `<KeyCount>0</KeyCount><IsTruncated>true</IsTruncated>${token}`,
  ];
  for (const body of bad) {
    fake.answer = () => ({ status: 200, body: listing(body) });
    await rejects("unavailable", treeOf(fixture.origin), /listing/);
  }
  fake.answer = () => errorAnswer(404, "NoSuchBucket");
  await rejects("not_found", treeOf(fixture.origin), /the bucket does not exist/);
});

Deno.test("S3Origin takes an empty prefix for an empty folder, a missing bucket for no answer", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake, "none");
  assert.deepEqual(await list(fixture.origin, ""), []);
  assert.equal((await fixture.origin.stat("", noSignal())).kind, "folder");
  fake.answer = () => errorAnswer(404, "NoSuchBucket");
  await rejects("not_found", list(fixture.origin, ""), /the bucket does not exist/);
  await rejects("not_found", fixture.origin.stat("", noSignal()), /the bucket does not exist/);
  await rejects("unavailable", list(fixture.origin, "a"), /the bucket does not exist/);
  await rejects("unavailable", fixture.origin.stat("a", noSignal()), /the bucket does not exist/);
  const file = { path: "a", size: 9, version: "e" };
  const read = fixture.origin.read(file, { offset: 0, length: 9 }, noSignal());
  await rejects("unavailable", read, /the bucket does not exist/);
});

Deno.test("S3Origin.list() never takes garbage for an empty or complete listing", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  const page = listing(COMPLETE + contents("a", 1));
  const truncated = "<KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>";
  const empty = truncated.replace("1", "0");
  const token = "<NextContinuationToken>same</NextContinuationToken>";
  const answers: [FakeAnswer, RegExp][] = [
    [{ status: 200, body: "" }, /does not say whether it is complete/],
    [
      { status: 200, body: "<html><body>Log in</body></html>" },
      /does not say whether it is complete/,
    ],
    [{ status: 200, body: page.slice(0, -20) }, /not one of S3/],
    [
      {
        status: 200,
        body: page.slice(0, -20),
        headers: { "content-length": "400" },
        then: "close",
      },
      /broke off/,
    ],
    [{ status: 200, body: listing(contents("a", 1)) }, /does not say whether it is complete/],
    [{ status: 200, body: listing(COMPLETE) }, /announces 1 keys and names 0/],
    [{ status: 200, body: listing(empty) }, /does not say how it goes on/],
    [{ status: 200, body: listing(empty + token) }, /does not get on/],
    [{ status: 200, body: listing(truncated + token + contents("a", 1)) }, /does not get on/],
    [{ status: 404, body: "Not Found" }, /404, without an error of S3/],
    [{ status: 200, body: "x".repeat(9 * 1024 * 1024) }, /broke off/],
  ];
  for (const [answer, message] of answers) {
    fake.answer = () => answer;
    await rejects("unavailable", list(fixture.origin, ""), message);
    await rejects("unavailable", list(fixture.origin, "a"), /./);
    await rejects("unavailable", fixture.origin.stat("a", noSignal()), /./);
  }
  let turn = 0;
  fake.answer = () => ({
    status: 200,
    body: listing(
      `${truncated}<NextContinuationToken>${turn++}</NextContinuationToken>${contents("a", 1)}`,
    ),
  });
  await rejects("unavailable", list(fixture.origin, ""), /the same page came twice/);
});

Deno.test("S3Origin says what each refusal means and what to do, without a secret", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  const echoed = `<StringToSign>x-amz-security-token:${TOKEN}</StringToSign><Key>${SECRET}</Key>`;
  const answers: [FakeAnswer, ErrorCode, RegExp][] = [
    [errorAnswer(403, "AccessDenied", echoed), "denied", /need s3:ListBucket .* s3:GetObject/],
    [errorAnswer(403, "InvalidAccessKeyId"), "denied", /check AWS_ACCESS_KEY_ID/],
    [errorAnswer(403, "SignatureDoesNotMatch", echoed), "denied", /check AWS_SECRET_ACCESS_KEY/],
    [errorAnswer(400, "ExpiredToken", echoed), "denied", /session token has expired/],
    [
      {
        ...errorAnswer(403, "RequestTimeTooSkewed"),
        headers: { date: "Mon, 06 May 2024 07:08:09 GMT" },
      },
      "denied",
      /set this machine's clock \(it is \d{5,} s ahead of the server's\)/,
    ],
    [{ status: 403, body: "<html>proxy</html>" }, "denied", /403, without an error of S3/],
    [
      {
        ...errorAnswer(301, "PermanentRedirect"),
        headers: { "x-amz-bucket-region": "eu-central-1" },
      },
      "denied",
      /add region=eu-central-1 to the URL/,
    ],
    [errorAnswer(503, "SlowDown"), "unavailable", /fewer requests/],
    [errorAnswer(500, "InternalError"), "unavailable", /the server failed \(500 InternalError\)/],
    [errorAnswer(400, `<b>${SECRET}</b>`), "denied", /refuses the request/],
    [errorAnswer(404, "NoSuchKey"), "not_found", /does not exist/],
    [errorAnswer(412, "PreconditionFailed"), "changed", /not the version/],
    [errorAnswer(416, "InvalidRange"), "changed", /shorter/],
    [{ status: 204 }, "unavailable", /makes no sense/],
  ];
  const file = { path: "a/b.flac", size: 9, version: "e" };
  for (const [answer, code, message] of answers) {
    fake.answer = () => answer;
    await rejects(code, fixture.origin.read(file, { offset: 0, length: 9 }, noSignal()), message);
  }
});

Deno.test("S3Origin.read() never gives a wrong byte, whatever the server sends", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  fake.put("song", SONG);
  const file = await fixture.origin.stat("song", noSignal());
  const etag = `"${file.version}"`;
  const range = "bytes 100-199/1000";
  const right = { etag, "content-range": range };
  const body = SONG.slice(100, 200);
  const long = SONG.slice(100, 300);
  const answers: [FakeAnswer, ErrorCode, RegExp][] = [
    [{ status: 206, headers: { "content-range": range }, body }, "unavailable", /no ETag/],
    [{ status: 206, headers: { ...right, etag: '"other"' }, body }, "changed", /not the version/],
    [{ status: 206, headers: { etag }, body }, "unavailable", /other bytes than asked for/],
    [
      { status: 206, headers: { etag, "content-range": "bytes 0-99/1000" }, body },
      "unavailable",
      /other bytes/,
    ],
    [
      { status: 206, headers: { etag, "content-range": "bytes 100-299/1000" }, body: long },
      "unavailable",
      /other bytes/,
    ],
    [
      { status: 206, headers: { etag, "content-range": "bytes 100-199/1001" }, body },
      "changed",
      /1001 bytes now instead of 1000/,
    ],
    [{ status: 206, headers: right, body: long }, "unavailable", /200 bytes instead of 100/],
    [
      { status: 206, headers: right, body: body.slice(1) },
      "unavailable",
      /99 bytes instead of 100/,
    ],
    [
      { status: 206, headers: { ...right, "content-length": "" }, body: long, then: "close" },
      "unavailable",
      /more bytes than asked for/,
    ],
    [{ status: 200, headers: { etag }, body: SONG }, "unavailable", /knows no ranges/],
    [{ status: 200, headers: { etag }, body }, "unavailable", /knows no ranges/],
  ];
  for (const [answer, code, message] of answers) {
    fake.answer = () => answer;
    const read = fixture.origin.read(file, { offset: 100, length: 100 }, noSignal());
    await rejects(code, read, message);
  }
  fake.answer = () => ({ status: 200, headers: { etag }, body: SONG });
  assert.deepEqual(
    await fixture.origin.read(file, { offset: 0, length: 1_000 }, noSignal()),
    SONG,
  );
});

Deno.test("S3Origin.read() gives what came of a body that breaks off as a PartialRead", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  fake.put("song", SONG);
  const file = await fixture.origin.stat("song", noSignal());
  const headers = { etag: `"${file.version}"`, "content-range": "bytes 100-199/1000" };
  const read = (): Promise<Uint8Array> =>
    fixture.origin.read(file, { offset: 100, length: 100 }, noSignal());
  for (const length of ["100", ""]) {
    const cut = (bytes: number): void => {
      const body = SONG.slice(100, 100 + bytes);
      const all = { ...headers, "content-length": length };
      fake.answer = () => ({ status: 206, headers: all, body, then: "close" });
    };
    cut(60);
    await assert.rejects(read(), (error) => {
      assert(error instanceof PartialRead && error.code === "unavailable");
      assert.match(error.message, /broke off after 60 of 100 bytes/);
      assert.deepEqual(error.received, SONG.slice(100, 160));
      return true;
    });
    cut(0);
    await rejects("unavailable", read(), /broke off at once/);
  }
});

Deno.test("S3Origin.read() sends nothing for bytes that are not there, or for none", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  const file = { path: "song", size: 1_000, version: "e" };
  const read = (offset: number, length: number): Promise<Uint8Array> =>
    fixture.origin.read(file, { offset, length }, noSignal());
  await rejects("invalid", read(999, 2), /bytes 999 to 1001 are not in its 1000 bytes/);
  await rejects("invalid", read(-1, 2), /are not in its/);
  assert.deepEqual(await read(1_000, 0), new Uint8Array());
  await rejects("invalid", fixture.origin.stat("a/../b", noSignal()), /no path below/);
  await rejects("invalid", list(fixture.origin, "/a"), /no path below/);
  assert.equal(fake.requests.length, 0);
});

Deno.test("S3Origin leaves a call at once when its signal ends, and no connection hangs", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  fake.put("song", SONG);
  const file = await fixture.origin.stat("song", noSignal());
  const headers = {
    etag: `"${file.version}"`,
    "content-range": "bytes 0-999/1000",
    "content-length": "1000",
  };
  const reason = new Error("enough");
  for (const isBody of [true, false]) {
    for (let i = 0; i < 40; i += 1) {
      const abort = new AbortController();
      fake.answer = () => {
        if (!isBody) queueMicrotask(() => abort.abort(reason));
        return { status: 206, headers, body: isBody ? SONG.slice(0, 10) : "", then: "hang" };
      };
      const onProgress = (): void => abort.abort(reason);
      const options = { signal: abort.signal, onProgress };
      const read = fixture.origin.read(file, { offset: 0, length: 1_000 }, options);
      await assert.rejects(read, (error) => error === reason);
    }
  }
  fake.answer = () => undefined;
  const bytes = await fixture.origin.read(file, { offset: 0, length: 1_000 }, noSignal());
  assert.deepEqual(bytes, SONG);
});

Deno.test("S3Origin goes on after refused answers over the same connection", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  fake.put("song", SONG);
  const file = { path: "song", size: 1_000, version: "other" };
  for (let i = 0; i < 40; i += 1) {
    await rejects("changed", fixture.origin.read(file, { offset: 0, length: 9 }, noSignal()), /./);
  }
  assert.equal(fake.connections, 1);
});

Deno.test("S3Origin takes another connection where the server has closed an idle one", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  fake.put("song", SONG);
  const used = new Set<number>();
  fake.answer = ({ connection }) => {
    if (used.has(connection)) return { status: 0 };
    used.add(connection);
    return undefined;
  };
  for (let i = 0; i < 3; i += 1) await fixture.origin.stat("song", noSignal());
  assert.deepEqual(fake.requests.map(({ connection }) => connection), [1, 1, 2, 2, 3]);
  fake.answer = () => ({ status: 0 });
  await rejects("unavailable", fixture.origin.stat("song", noSignal()), /closed the connection/);
  assert.deepEqual(fake.requests.slice(5).map(({ connection }) => connection), [3, 4]);
});

Deno.test("S3Origin tells refused connections, broken ones, unknown hosts and other protocols apart", async () => {
  const refused = await FakeS3.start();
  const { endpoint } = refused;
  await refused[Symbol.asyncDispose]();
  await using closing = await FakeS3.start();
  closing.answer = () => ({ status: 200, headers: { "content-length": "9" }, then: "close" });
  const cases: [string, ErrorCode, RegExp][] = [
    [endpoint, "unavailable", /the connection was refused; is the server running\?/],
    ["http://no-such-host.invalid", "unavailable", /host name is unknown \(DNS\)/],
    [closing.endpoint.replace("http:", "https:"), "denied", /no TLS connection .*http instead/],
    [closing.endpoint, "unavailable", /broke off/],
  ];
  for (const [at, code, message] of cases) {
    await using fixture = openedAt(`s3://music?endpoint=${at}`);
    await rejects(code, list(fixture.origin, ""), message);
  }
});

Deno.test("S3Origin is unavailable where what answers does not speak HTTP, or cuts its head short", async () => {
  const head = 'HTTP/1.1 206 Partial Content\r\nETag: "e"\r\nContent-Length: 9\r\n' +
    "Content-Range: bytes 0-8/9\r\n\r\n";
  const whole = `${head}123456789`;
  const answers = [
    "hello\r\n\r\n",
    "HTTP/2 200\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "HTTP/1.1 101 Switching\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    `HTTP/1.1 200 OK\r\n${"A: a\r\n".repeat(100_000)}\r\n`,
    ...Array.from({ length: whole.length / 8 }, (_, i) => whole.slice(0, i * 8)),
  ];
  let answer = "";
  await using server = answering(() => answer);
  await using fixture = openedAt(`s3://music?endpoint=http://127.0.0.1:${server.port}`);
  const file = { path: "a", size: 9, version: "e" };
  const read = (): Promise<Uint8Array> =>
    fixture.origin.read(file, { offset: 0, length: 9 }, noSignal());
  for (answer of answers) await rejects("unavailable", read(), /./);
  answer = whole;
  assert.equal(new TextDecoder().decode(await read()), "123456789");
});

Deno.test("S3Origin.read() never takes a chunked body that is cut short for a whole one", async () => {
  const head = 'HTTP/1.1 206 Partial Content\r\nETag: "e"\r\nTransfer-Encoding: chunked\r\n' +
    "Content-Range: bytes 0-8/9\r\n\r\n";
  const bodies = ["4\r\n1234\r\n5\r\n5678", "x\r\n", "-1\r\n", "4\r\n12345\r\n0\r\n\r\n", ""];
  let answer = "";
  await using server = answering(() => answer);
  await using fixture = openedAt(`s3://music?endpoint=http://127.0.0.1:${server.port}`);
  const file = { path: "a", size: 9, version: "e" };
  const read = (): Promise<Uint8Array> =>
    fixture.origin.read(file, { offset: 0, length: 9 }, noSignal());
  for (const body of [...bodies, "9\r\n123456789\r\n3\r\nabc\r\n0\r\n\r\n"]) {
    answer = head + body;
    await rejects("unavailable", read(), /broke off|more bytes/);
  }
  answer = `${head}4\r\n1234\r\n5\r\n56789\r\n0\r\n\r\n`;
  assert.equal(new TextDecoder().decode(await read()), "123456789");
});

Deno.test("S3Origin sends at most 32 requests at once, and uses their connections again", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  fake.put("song", SONG);
  const abort = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  fake.answer = () => {
    if (fake.requests.length === 32) resolve();
    return { status: 0, then: "hang" };
  };
  const { signal } = abort;
  const hanging = Array.from({ length: 40 }, () => fixture.origin.stat("song", { signal }));
  const ended = Promise.allSettled(hanging);
  await promise;
  await systemClock.sleep(20);
  assert.equal(fake.requests.length, 32);
  abort.abort(new Error("enough"));
  await ended;
  fake.answer = () => undefined;
  const before = fake.connections;
  for (let turn = 0; turn < 20; turn += 1) {
    await Promise.all(Array.from({ length: 8 }, () => fixture.origin.stat("song", noSignal())));
  }
  assert(fake.connections - before <= 16, String(fake.connections - before));
});

Deno.test("S3Origin leaves all idle connections after a call that waited in vain", async () => {
  await using fake = await FakeS3.start();
  const clock = new VirtualClock();
  await using fixture = openedAt(fake.url(), KEYS, clock);
  fake.put("song", SONG);
  const stat = (signal: AbortSignal): Promise<OriginEntry> =>
    fixture.origin.stat("song", { signal });
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 8 }, () => stat(signal)));
  for (const [waitMs, isLeft] of [[1_000, false], [2_000, true]] as const) {
    const { connections } = fake;
    const abort = new AbortController();
    const { promise, resolve } = Promise.withResolvers<void>();
    fake.answer = () => {
      resolve();
      return { status: 0, then: "hang" };
    };
    const call = assert.rejects(stat(abort.signal), /too late/);
    await promise;
    await clock.advance(waitMs);
    abort.abort(new Error("too late"));
    await call;
    fake.answer = () => undefined;
    await stat(signal);
    assert.equal((fake.requests.at(-1)?.connection ?? 0) > connections, isLeft, String(waitMs));
  }
});

Deno.test("S3Origin, disposed of, ends the calls under way and makes no more", async () => {
  await using fake = await FakeS3.start();
  await using fixture = opened(fake);
  const { promise, resolve } = Promise.withResolvers<void>();
  fake.answer = () => {
    resolve();
    return { status: 0, then: "hang" };
  };
  const call = rejects("unavailable", fixture.origin.stat("a", noSignal()), /was closed/);
  await promise;
  await fixture.origin[Symbol.asyncDispose]();
  await call;
  await rejects("unavailable", fixture.origin.stat("a", noSignal()), /was closed/);
});

Deno.test("S3Origin sends no header that a key or a version would break in two", async () => {
  await using fake = await FakeS3.start();
  const broken = { ...KEYS, AWS_SESSION_TOKEN: `${TOKEN}\r\nx-other: 1` };
  await using fixture = openedAt(fake.url(), broken);
  await rejects("denied", fixture.origin.stat("", noSignal()), /holds a line break/);
  await using anonymous = openedAt(fake.url("", "&anonymous=true"));
  const file = { path: "a", size: 9, version: 'e"\r\nx-other: 1' };
  const read = anonymous.origin.read(file, { offset: 0, length: 9 }, noSignal());
  await rejects("denied", read, /holds a line break/);
  assert.equal(fake.requests.length, 0);
});

Deno.test("S3Origin without credentials is denied and says what to set", async () => {
  await using fake = await FakeS3.start();
  await using dir = await tempDir("s3");
  await using fixture = openedAt(fake.url(), { HOME: dir.path });
  await rejects("denied", list(fixture.origin, ""), /no credentials found; set AWS_ACCESS_KEY_ID/);
  assert.equal(fake.requests.length, 0);
  await using open = openedAt(fake.url("", "&anonymous=true"), { HOME: dir.path });
  assert.deepEqual(await list(open.origin, ""), []);
  assert.equal(fake.requests[0]?.headers.has("authorization"), false);
});

Deno.test("S3Origin takes keys of the environment, of systemd, of shared files, in this order", async () => {
  await using fake = await FakeS3.start();
  await using dir = await tempDir("s3");
  await Deno.mkdir(`${dir.path}/.aws`);
  await Deno.mkdir(`${dir.path}/systemd`);
  const file = (name: string): string =>
    `[default]\naws_access_key_id = ${name}\naws_secret_access_key=${SECRET}\n` +
    `# x\n[other]\naws_access_key_id=OTHER-${name}\naws_secret_access_key=${SECRET}\n`;
  await Deno.writeTextFile(`${dir.path}/.aws/credentials`, file("SHARED"));
  await Deno.writeTextFile(`${dir.path}/systemd/aws_credentials`, file("SYSTEMD"));
  const home = { HOME: dir.path };
  const systemd = { ...home, CREDENTIALS_DIRECTORY: `${dir.path}/systemd` };
  const cases: [Record<string, string>, string, string][] = [
    [{ ...systemd, ...KEYS }, "", "AKIATEST"],
    [{ ...systemd, ...KEYS }, "&profile=other", "OTHER-SYSTEMD"],
    [systemd, "", "SYSTEMD"],
    [{ ...systemd, AWS_PROFILE: "other" }, "", "OTHER-SYSTEMD"],
    [{ ...home, CREDENTIALS_DIRECTORY: dir.path }, "", "SHARED"],
    [home, "&profile=other", "OTHER-SHARED"],
    [{ AWS_SHARED_CREDENTIALS_FILE: `${dir.path}/systemd/aws_credentials` }, "", "SYSTEMD"],
  ];
  for (const [env, options, expected] of cases) {
    await using fixture = openedAt(fake.url("", options), env);
    await fixture.origin.stat("", noSignal());
    const header = fake.requests.at(-1)?.headers.get("authorization") ?? "";
    assert.match(header, new RegExp(`Credential=${expected}/`));
  }
  await using fixture = openedAt(fake.url("", "&profile=none"), systemd);
  await rejects("denied", list(fixture.origin, ""), /has no keys for the profile "none"/);
});

Deno.test("S3Origin reads rotated keys anew when the old ones are refused, without a storm", async () => {
  await using fake = await FakeS3.start();
  await using dir = await tempDir("s3");
  const path = `${dir.path}/aws_credentials`;
  const write = (name: string): Promise<void> =>
    Deno.writeTextFile(
      path,
      `[default]\naws_access_key_id=${name}\naws_secret_access_key=${SECRET}\n`,
    );
  await write("OLD");
  await using fixture = openedAt(fake.url(), { CREDENTIALS_DIRECTORY: dir.path });
  await fixture.origin.stat("", noSignal());
  await write("NEW");
  fake.answer = ({ headers }) =>
    headers.get("authorization")?.includes("NEW")
      ? undefined
      : errorAnswer(403, "InvalidAccessKeyId");
  await fixture.origin.stat("", noSignal());
  assert.equal(fake.requests.length, 3);
  fake.answer = () => errorAnswer(403, "InvalidAccessKeyId");
  await rejects("denied", fixture.origin.stat("", noSignal()), /AWS_ACCESS_KEY_ID/);
  assert.equal(fake.requests.length, 4);
});

Deno.test("S3Origin.open() connects nothing, reads nothing and refuses what makes no address", async () => {
  const options = { log: silent(), clock: systemClock, env: () => undefined };
  const opened = S3Origin.open({ name: "s3", url: "s3://music/x" }, options);
  await opened[Symbol.asyncDispose]();
  for (const url of ["s3://music?secret=x", "s3://a--use1-az4--x-s3?region=us-east-1"]) {
    assert.throws(() => S3Origin.open({ name: "s3", url }, options), (error) => {
      assert(error instanceof MusicfsError && error.code === "invalid");
      return true;
    });
  }
});

Deno.test("S3Origin takes the endpoint of the environment where its URL names none", async () => {
  await using fake = await FakeS3.start();
  fake.put("song", SONG);
  const variables = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"];
  for (const name of variables) {
    await using fixture = openedAt("s3://music", { ...KEYS, [name]: fake.endpoint });
    assert.equal((await fixture.origin.stat("song", noSignal())).size, 1_000);
  }
  await using named = openedAt(fake.url(), { ...KEYS, AWS_ENDPOINT_URL: "http://127.0.0.1:1" });
  assert.equal((await named.origin.stat("song", noSignal())).size, 1_000);
});

interface Opened extends AsyncDisposable {
  origin: S3Origin;
}

function opened(fake: FakeS3, prefix = ""): Opened & Pick<OriginFixture, "origin"> {
  const inner = openedAt(fake.url(prefix));
  return {
    origin: inner.origin,
    async [Symbol.asyncDispose](): Promise<void> {
      await inner[Symbol.asyncDispose]();
      await fake[Symbol.asyncDispose]();
    },
  };
}

function openedAt(url: string, env = KEYS, clock: Clock = systemClock): Opened {
  const options = { log: silent(), clock, env: (name: string) => env[name] };
  const origin = S3Origin.open({ name: "bucket", url }, options);
  return { origin, [Symbol.asyncDispose]: () => origin[Symbol.asyncDispose]() };
}

/** A server that answers with these very bytes, and then ends the connection. */
function answering(answer: () => string): AsyncDisposable & { port: number } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const one = async (connection: Deno.TcpConn): Promise<void> => {
    using _closed = connection;
    const asked = await connection.read(new Uint8Array(16_384)).catch(() => null);
    if (asked === null) return;
    const bytes = new TextEncoder().encode(answer());
    for (let at = 0; at < bytes.length;) {
      at += await connection.write(bytes.subarray(at)).catch(() => bytes.length);
    }
  };
  const served = (async () => {
    const ones: Promise<void>[] = [];
    for await (const connection of listener) ones.push(one(connection));
    await Promise.all(ones);
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose](): Promise<void> {
      listener.close();
      await served;
    },
  };
}

/** A log that lets no secret pass. */
function silent(): Log {
  const check = (...line: unknown[]): void => assertNoSecret(line);
  return { debug: check, info: check, warning: check, error: check };
}

async function list(origin: S3Origin, folder: string): Promise<OriginEntry[]> {
  return await Array.fromAsync(origin.list(folder, noSignal()));
}

function hold(fake: FakeS3, path: string, what: Held): void {
  if (what === "folder") fake.put(`${path}/`, "");
  else if (what instanceof Uint8Array) fake.put(path, what);
}

async function rejects(code: ErrorCode, call: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(call, (error) => {
    assert(error instanceof MusicfsError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assertNoSecret(error);
    return true;
  });
}

/** As a log writes it: with stack, causes and fields. */
function assertNoSecret(what: unknown): void {
  const text = JSON.stringify(plainFields({ what }));
  assert(!text.includes(SECRET) && !text.includes(TOKEN), text);
}
