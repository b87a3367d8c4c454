/** S3Origin at a real MinIO: what no fake server can vouch for. */

import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { plainFields } from "../../src/base/log_fields.ts";
import type { OriginEntry } from "../../src/origins/origin.ts";
import { S3Origin } from "../../src/origins/s3.ts";
import { testOriginContract } from "../contracts/origin_contract.ts";
import { testWith } from "../support/requirements.ts";
import { Authority } from "../support/servers/certificates.ts";
import { type Minio, startMinio } from "../support/servers/minio.ts";
import { tempDir } from "../support/temp_dir.ts";

const noSignal = (): { signal: AbortSignal } => ({ signal: new AbortController().signal });

testOriginContract("S3Origin at MinIO", async (held) => {
  const minio = await startMinio();
  const bucket = await freshBucket(minio);
  for (const [path, what] of Object.entries(held)) {
    if (what === "folder") await minio.put(bucket, `${path}/`, "");
    else if (what instanceof Uint8Array) await minio.put(bucket, path, what);
  }
  const origin = open(minio, { bucket });
  return {
    origin,
    replace: (path, bytes) => minio.put(bucket, path, bytes),
    remove: (path) => minio.remove(bucket, path),
    async [Symbol.asyncDispose](): Promise<void> {
      await origin[Symbol.asyncDispose]();
      await minio[Symbol.asyncDispose]();
    },
  };
}, { symlinks: false });

testWith(["minio"], "S3Origin lists, describes and reads every key that MinIO holds", async () => {
  await using minio = await startMinio();
  const bucket = await freshBucket(minio);
  await using origin = open(minio, { bucket, prefix: "cds + vinyl/é %2B" });
  const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).filter(isFit);
  const odd = ["a+b %2B", "\n", "&<>'\"", "\u{1F3B5}", "\uFFFD", "~!*()'", "?#", "%"];
  const names = [...fc.sample(name, { numRuns: 60, seed: 4 }), ...odd.filter(isFit)];
  // MinIO cannot hold "a" beside "a/b" in every form; folders have names of their own.
  const keys = new Set(names.map((name, i) => i % 3 === 0 ? `folder ${name}/${name}` : name));
  const bodies = [...keys].map((key) => [key, new TextEncoder().encode(key)] as const);
  await minio.putAll(bucket, bodies.map(([key, body]) => [`cds + vinyl/é %2B/${key}`, body]));
  const found = await walk(origin, "");
  assert.deepEqual(found.map(({ path }) => path).sort(), [...keys].sort());
  for (const entry of found) {
    assert.deepEqual(await origin.stat(entry.path, noSignal()), entry);
    const bytes = await origin.read(entry, { offset: 0, length: entry.size }, noSignal());
    assert.equal(new TextDecoder().decode(bytes), entry.path);
  }
});

testWith(["minio"], "S3Origin lists 2,500 keys in three pages", async () => {
  await using minio = await startMinio();
  const bucket = await freshBucket(minio);
  const keys = Array.from({ length: 2_500 }, (_, i) => `${i} song.flac`);
  await minio.putAll(bucket, keys.map((key) => [`big/${key}`, "x"]));
  await using origin = open(minio, { bucket });
  const entries = await Array.fromAsync(origin.list("big", noSignal()));
  assert.deepEqual(entries.map(({ path }) => path).sort(), keys.map((key) => `big/${key}`).sort());
});

testWith(
  ["minio"],
  "S3Origin reads right bytes in parallel and beside abandoned reads",
  async () => {
    await using minio = await startMinio();
    const bucket = await freshBucket(minio);
    const bytes = new Uint8Array(8 * 1024 * 1024);
    for (let i = 0; i < bytes.length; i += 65_536) {
      crypto.getRandomValues(bytes.subarray(i, i + 65_536));
    }
    await minio.put(bucket, "song", bytes);
    await using origin = open(minio, { bucket });
    const file = await origin.stat("song", noSignal());
    const length = 256 * 1024;
    const one = async (i: number): Promise<void> => {
      const offset = (i * 99_991) % (bytes.length - length);
      const abort = new AbortController();
      // Every third reader leaves when the first bytes are there.
      const leave = (): void => i % 3 === 0 ? abort.abort(new Error("enough")) : undefined;
      const options = { signal: abort.signal, onProgress: leave };
      const read = origin.read(file, { offset, length }, options);
      if (i % 3 === 0) await assert.rejects(read, /enough/);
      else assert.deepEqual(await read, bytes.slice(offset, offset + length));
    };
    let next = 0;
    await Promise.all(Array.from({ length: 40 }, async () => {
      while (next < 400) await one(next++);
    }));
  },
);

testWith(
  ["minio"],
  "S3Origin needs no more than to list and to get, and no keys if so",
  async () => {
    await using minio = await startMinio();
    const bucket = await freshBucket(minio);
    await minio.put(bucket, "a/song", "bytes");
    await using origin = open(minio, { bucket, options: "&anonymous=true" });
    await rejects("denied", origin.stat("", noSignal()), /AccessDenied|access denied/);
    await minio.allowAnonymous(bucket);
    assert.equal((await origin.stat("", noSignal())).kind, "folder");
    const [song] = await walk(origin, "");
    assert.ok(song);
    assert.equal((await origin.read(song, { offset: 1, length: 3 }, noSignal())).length, 3);
  },
);

testWith(
  ["minio"],
  "S3Origin tells a wrong secret, key, clock and bucket apart",
  async () => {
    await using minio = await startMinio();
    const bucket = await freshBucket(minio);
    await minio.put(bucket, "song", "bytes");
    const wrong = { AWS_SECRET_ACCESS_KEY: "wrong-and-secret" };
    const late: Clock = { ...systemClock, now: () => systemClock.now() - 3_600_000 };
    const cases: [S3Origin, ErrorCode, RegExp][] = [
      [open(minio, { bucket, env: wrong }), "denied", /check AWS_SECRET_ACCESS_KEY/],
      [
        open(minio, { bucket, env: { AWS_ACCESS_KEY_ID: "unknown" } }),
        "denied",
        /AWS_ACCESS_KEY_ID/,
      ],
      [
        open(minio, { bucket, clock: late }),
        "denied",
        /clock \(it is 3\d{3} s behind the server's\)/,
      ],
      [open(minio, { bucket: "no-such-bucket" }), "not_found", /the bucket does not exist/],
    ];
    for (const [origin, code, message] of cases) {
      await using _origin = origin;
      const secrets = [minio.secretKey, wrong.AWS_SECRET_ACCESS_KEY];
      await rejects(code, origin.stat("", noSignal()), message, secrets);
      await rejects(code, Array.fromAsync(origin.list("", noSignal())), message, secrets);
    }
  },
);

testWith(
  ["minio"],
  "S3Origin is unavailable while MinIO is away, and well again after",
  async () => {
    await using minio = await startMinio();
    const bucket = await freshBucket(minio);
    await minio.put(bucket, "song", "bytes");
    await using origin = open(minio, { bucket });
    const file = await origin.stat("song", noSignal());
    await minio.stop();
    const read = origin.read(file, { offset: 0, length: 5 }, noSignal());
    await rejects("unavailable", read, /refused|closed the connection/);
    await minio.start();
    assert.equal((await origin.read(file, { offset: 0, length: 5 }, noSignal())).length, 5);
  },
);

testWith(
  ["minio", "openssl"],
  "S3Origin takes a certificate of ca_file, refuses expired, unknown ones and other hosts'",
  async () => {
    await using dir = await tempDir("s3-tls");
    const authority = await Authority.make(dir.path);
    const caFile = `&ca_file=${encodeURIComponent("~/ca.crt")}`;
    assert.equal(authority.file, join(dir.path, "ca.crt"));
    const env = { HOME: dir.path };
    {
      await using minio = await startMinio({ tls: await authority.sign({ days: 1 }) });
      await using origin = open(minio, { bucket: "none", options: caFile, env });
      await rejects("not_found", origin.stat("", noSignal()), /the bucket does not exist/);
      await using unknown = open(minio, { bucket: "none", env });
      await rejects(
        "denied",
        unknown.stat("", noSignal()),
        /certificate was refused .* ca_file=FILE/,
      );
      const endpoint = `https://localhost:${minio.port}`;
      await using other = open(minio, { bucket: "none", endpoint, options: caFile, env });
      await rejects("denied", other.stat("", noSignal()), /check the endpoint's name/);
      await using plain = open(minio, {
        bucket: "none",
        endpoint: `http://127.0.0.1:${minio.port}`,
      });
      await rejects("denied", plain.stat("", noSignal()), /endpoint/);
      await using missing = open(minio, { bucket: "none", options: "&ca_file=/none", env });
      await rejects("denied", missing.stat("", noSignal()), /ca_file \/none cannot be read/);
    }
    await using minio = await startMinio({ tls: await authority.sign({ days: -1 }) });
    await using origin = open(minio, { bucket: "none", options: caFile, env });
    const secrets = [minio.secretKey];
    await rejects(
      "denied",
      origin.stat("", noSignal()),
      /certificate was refused .*expired.*renew it/i,
      secrets,
    );
  },
);

interface OpenAt {
  bucket: string;
  prefix?: string;
  endpoint?: string;
  /** Begins with "&". */
  options?: string;
  env?: Record<string, string>;
  clock?: Clock;
}

function open(minio: Minio, at: OpenAt): S3Origin {
  const { bucket, options = "", clock = systemClock, ...rest } = at;
  const env: Record<string, string> = { ...minio.env, ...at.env };
  const url = minio.url(bucket, rest) + options;
  return S3Origin.open({ name: "music", url }, {
    log: silentLog,
    clock,
    env: (name) => env[name],
  });
}

/** A bucket of this test alone: the server may be one that outlives it. */
async function freshBucket(minio: Minio): Promise<string> {
  const bucket = `s3-${crypto.randomUUID()}`;
  await minio.makeBucket(bucket);
  return bucket;
}

async function walk(origin: S3Origin, folder: string): Promise<OriginEntry[]> {
  const found: OriginEntry[] = [];
  for await (const entry of origin.list(folder, noSignal())) {
    if (entry.kind === "folder") found.push(...await walk(origin, entry.path));
    else found.push(entry);
  }
  return found;
}

/** Whether MinIO takes this as a name; it keeps keys as paths on a disk. */
function isFit(name: string): boolean {
  return !/[/\\\0]|^\.\.?$|^\s+$/.test(name) && name.isWellFormed() &&
    name.trim() === name && new TextEncoder().encode(name).length < 200;
}

async function rejects(
  code: ErrorCode,
  call: Promise<unknown>,
  message: RegExp,
  secrets: string[] = [],
): Promise<void> {
  await assert.rejects(call, (error) => {
    assert(error instanceof MusicfsError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    const logged = JSON.stringify(plainFields({ error }));
    for (const secret of secrets) assert(!logged.includes(secret), logged);
    return true;
  });
}
