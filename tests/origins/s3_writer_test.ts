import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { S3Writer } from "../../src/origins/s3_writer.ts";
import { errorAnswer, FakeS3 } from "../support/fake_s3.ts";

const KEYS: Record<string, string> = {
  AWS_ACCESS_KEY_ID: "AKIATEST",
  AWS_SECRET_ACCESS_KEY: "very-secret-key",
};
const BYTES = new TextEncoder().encode("names");

Deno.test("S3Writer.write() sends the object again when the server asks it to wait", async () => {
  await using fake = await FakeS3.start();
  let failures = 2;
  fake.answer = () =>
    failures-- > 0
      ? { ...errorAnswer(503, "SlowDown"), then: "close" }
      : { status: 200, headers: { etag: '"abc"' }, then: "close" };
  const waits: number[] = [];
  await using writer = opened(fake, {
    ...systemClock,
    sleep: (ms, signal) => {
      if (ms > 10_000) return systemClock.sleep(ms, signal);
      waits.push(ms);
      return Promise.resolve();
    },
  });
  await writer.write(".musicfs/index", BYTES);
  assert.deepEqual(fake.requests.map(({ key }) => key), Array(3).fill("cds/.musicfs/index"));
  assert.equal(fake.requests[0]?.headers.get("content-length"), `${BYTES.length}`);
  assert.equal(waits.length, 2);
});

Deno.test("S3Writer.write() of what may not be written is denied at once, and says what it needs", async () => {
  await using fake = await FakeS3.start();
  fake.answer = () => ({ ...errorAnswer(403, "AccessDenied"), then: "close" });
  await using writer = opened(fake, systemClock);
  const failed = { code: "denied", op: "s3.write", message: /s3:PutObject and s3:DeleteObject/ };
  await assert.rejects(writer.write(".musicfs/index", BYTES), failed);
  await assert.rejects(writer.remove(".musicfs/index"), failed);
  assert.equal(fake.requests.length, 2);
});

Deno.test("S3Writer.write() does not wait for ever for a server that hangs", async () => {
  await using fake = await FakeS3.start();
  fake.answer = () => ({ status: 0, then: "hang" });
  const limits: number[] = [];
  await using writer = opened(fake, {
    ...systemClock,
    sleep: (ms) => {
      if (ms > 10_000) limits.push(ms);
      return Promise.resolve();
    },
  });
  await assert.rejects(writer.write(".musicfs/index", BYTES), { code: "timed_out" });
  assert.equal(limits.length, 4);
  assert.ok(limits.every((ms) => ms >= 30_000));
});

Deno.test("S3Writer.remove() takes 204 for done", async () => {
  await using fake = await FakeS3.start();
  fake.answer = () => ({ status: 204, then: "close" });
  await using writer = opened(fake, systemClock);
  await writer.remove(".musicfs/chunks-0");
  assert.equal(fake.requests[0]?.key, "cds/.musicfs/chunks-0");
});

function opened(fake: FakeS3, clock: Clock): S3Writer {
  const options = { log: silentLog, clock, env: (name: string) => KEYS[name], random: () => 0.5 };
  return S3Writer.open({ name: "bucket", url: fake.url("cds") }, options);
}
