import assert from "node:assert/strict";
import type { HttpAnswer } from "../../src/origins/s3_http.ts";
import { S3Transport, TransportError } from "../../src/origins/s3_transport.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const REQUEST = { path: "/music", headers: { host: "nas" } };

Deno.test("S3Transport uses a connection again, but none that was idle for 30 s", async () => {
  await using fake = await FakeS3.start();
  const clock = new VirtualClock();
  using rig = transport(fake, clock);
  for (const waitMs of [0, 1_000, 29_000, 30_001, 0]) {
    await clock.advance(waitMs);
    await rig.get();
  }
  assert.deepEqual(fake.requests.map(({ connection }) => connection), [1, 1, 1, 2, 2]);
});

Deno.test("S3Transport opens as many connections as there are calls at once, up to 32", async () => {
  await using fake = await FakeS3.start();
  using rig = transport(fake);
  await Promise.all(Array.from({ length: 100 }, () => rig.get()));
  assert.equal(fake.requests.length, 100);
  assert(fake.connections > 1 && fake.connections <= 32, String(fake.connections));
});

Deno.test("S3Transport leaves all idle connections when one of them does not answer", async () => {
  await using fake = await FakeS3.start();
  using rig = transport(fake);
  await Promise.all(Array.from({ length: 8 }, () => rig.get()));
  const { connections } = fake;
  const abort = new AbortController();
  fake.answer = () => {
    abort.abort(new Error("too late"));
    return { status: 0, then: "hang" };
  };
  await assert.rejects(rig.get(abort.signal), /too late/);
  fake.answer = () => undefined;
  const before = fake.requests.length;
  await rig.get();
  assert((fake.requests[before]?.connection ?? 0) > connections);
});

Deno.test("S3Transport gives up a connection that takes more than ten seconds", async () => {
  // Its queue of connections is never emptied, and no TLS ever begins.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  assert(listener.addr.transport === "tcp");
  const clock = new VirtualClock();
  const slow = new S3Transport(new URL(`https://127.0.0.1:${listener.addr.port}`), { clock });
  const call = slow.get(REQUEST, new AbortController().signal, text);
  const failed = assert.rejects(call, (error) => {
    assert(error instanceof TransportError && error.code === "ETIMEDOUT");
    return true;
  });
  const accepted = await listener.accept();
  while (clock.sleeping.length === 0) await clock.settle();
  assert.deepEqual(clock.sleeping, [10_000]);
  await clock.advance(10_000);
  await failed;
  // Ends the handshake that nobody waits for.
  accepted.close();
  slow.destroy();
  await clock.settle();
});

interface Rig extends Disposable {
  get(signal?: AbortSignal): Promise<void>;
}

function transport(fake: FakeS3, clock = new VirtualClock()): Rig {
  const opened = new S3Transport(new URL(fake.endpoint), { clock });
  return {
    get: async (signal = new AbortController().signal) => {
      const body = await opened.get(REQUEST, signal, text);
      assert(body?.startsWith("<?xml"), body);
    },
    [Symbol.dispose]: () => opened.destroy(),
  };
}

function text(answer: HttpAnswer): Promise<string | undefined> {
  return answer.readText({ bytesMax: 10_000 });
}
