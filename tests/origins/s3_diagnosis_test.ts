import assert from "node:assert/strict";
import { type Diagnosis, S3Diagnosis } from "../../src/origins/s3_diagnosis.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

Deno.test("S3Diagnosis tells nothing wrong, refused connections, unknown hosts and TLS apart", async () => {
  await using fake = await FakeS3.start();
  const open = {
    protocol: "http:",
    hostname: "127.0.0.1",
    port: portOf(fake),
  };
  const refused = await FakeS3.start();
  const closed = { ...open, port: portOf(refused) };
  await refused[Symbol.asyncDispose]();
  const codes: string[] = [];
  const unknown = { protocol: "http:", hostname: "no-such-host.invalid", port: 80 };
  for (const endpoint of [open, closed, unknown, { ...open, protocol: "https:" }]) {
    codes.push((await diagnosis().of(endpoint)).code);
  }
  assert.deepEqual(codes, ["NONE", "ECONNREFUSED", "ENOTFOUND", "TLS"]);
});

Deno.test("S3Diagnosis gives up after three seconds", async () => {
  // Its queue of connections is never emptied, and no TLS ever begins.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const clock = new VirtualClock();
  const { port } = listener.addr;
  const call = diagnosis({ clock }).of({ protocol: "https:", hostname: "127.0.0.1", port });
  const accepted = await listener.accept();
  while (clock.sleeping.length === 0) await clock.settle();
  assert.deepEqual(clock.sleeping, [3_000]);
  await clock.advance(3_000);
  assert.equal((await call).code, "ETIMEDOUT");
  // Ends the handshake that nobody waits for.
  accepted.close();
  await clock.settle();
});

Deno.test("S3Diagnosis is made once for all calls that fail within three seconds", async () => {
  await using fake = await FakeS3.start();
  const endpoint = {
    protocol: "http:",
    hostname: "127.0.0.1",
    port: portOf(fake),
  };
  const clock = new VirtualClock();
  const one = diagnosis({ clock });
  const of = (): Promise<Diagnosis> => one.of(endpoint);
  await Promise.all([of(), of(), of()]);
  await clock.advance(2_999);
  await of();
  await clock.advance(1);
  await of();
  // The server counts what it has accepted.
  while (fake.connections < 2) await clock.settle();
  assert.equal(fake.connections, 2);
});

Deno.test("S3Diagnosis names the proxy, for it cannot look past it, unless TLS is refused", async () => {
  await using fake = await FakeS3.start();
  const env = { https_proxy: "http://user:secret@proxy:3128" };
  const unknown = { protocol: "https:", hostname: "no-such-host.invalid" };
  assert.deepEqual(await diagnosis({ env }).of(unknown), { code: "PROXY", detail: "" });
  const plain = { protocol: "https:", hostname: "127.0.0.1", port: portOf(fake) };
  assert.equal((await diagnosis({ env }).of(plain)).code, "TLS");
});

function diagnosis(
  { clock = new VirtualClock(), env = {} }: { clock?: VirtualClock; env?: Record<string, string> } =
    {},
): S3Diagnosis {
  return new S3Diagnosis({ caCerts: [], clock, env: (name) => env[name] });
}

function portOf({ endpoint }: FakeS3): number {
  return Number(new URL(endpoint).port);
}
