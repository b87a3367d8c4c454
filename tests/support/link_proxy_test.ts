import assert from "node:assert/strict";
import { type Link, startLink } from "./link_proxy.ts";
import { within } from "./process.ts";

Deno.test("Link delays each way", async () => {
  await using server = new Echo();
  await using link = await startLink(server.port, { delayMs: 40 });
  using client = await Client.to(link);
  const start = performance.now();
  await client.send(1);
  await client.receive(1);
  const ms = performance.now() - start;
  assert.ok(ms >= 80 && ms < 400, `${ms} ms`);
  assert.deepEqual(await link.bytes(), { down: 1, up: 1, connections: 1 });
});

Deno.test("Link shares one cap among all connections", async () => {
  await using server = new Echo();
  await using link = await startLink(server.port, { mbit: 40 });
  const start = performance.now();
  await Promise.all([0, 1, 2, 3].map(async () => {
    using client = await Client.to(link);
    await Promise.all([client.send(500_000), client.receive(500_000)]);
  }));
  const ms = performance.now() - start;
  // 2 MB at 5 MB/s.
  assert.ok(ms > 380 && ms < 1_500, `${ms} ms`);
  assert.equal((await link.bytes()).down, 2_000_000);
});

Deno.test("Link.cut() holds bytes back and restore() lets them through", async () => {
  await using server = new Echo();
  await using link = await startLink(server.port);
  using client = await Client.to(link);
  await client.send(10);
  await client.receive(10);
  await link.cut();
  await client.send(10);
  const late = client.receive(10);
  await assert.rejects(within(late, { ms: 200, what: "bytes" }), /Not within/);
  await link.restore();
  await within(late, { ms: 5_000, what: "bytes" });
});

Deno.test("Link.drop() closes and refuses connections, restore() takes them again", async () => {
  await using server = new Echo();
  await using link = await startLink(server.port);
  using client = await Client.to(link);
  await client.send(1);
  await client.receive(1);
  await link.drop();
  await assert.rejects(client.receive(1));
  await assert.rejects(Client.to(link), Deno.errors.ConnectionRefused);
  await link.restore();
  using again = await Client.to(link);
  await again.send(1);
  await again.receive(1);
});

class Client implements Disposable {
  constructor(readonly conn: Deno.TcpConn) {}

  static async to(link: Link): Promise<Client> {
    return new Client(await Deno.connect({ hostname: "127.0.0.1", port: link.port }));
  }

  async send(length: number): Promise<void> {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) done += await this.conn.write(bytes.subarray(done));
  }

  async receive(length: number): Promise<void> {
    const buffer = new Uint8Array(65_536);
    for (let left = length; left > 0;) {
      const got = await this.conn.read(buffer.subarray(0, left));
      if (got === null) throw new Error(`End, with ${left} bytes to come`);
      left -= got;
    }
  }

  [Symbol.dispose](): void {
    this.conn.close();
  }
}

/** Sends back what it gets. */
class Echo implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #conns: Promise<void>[] = [];
  readonly #accepting = this.#accept();

  get port(): number {
    return this.#listener.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    await Promise.all(this.#conns);
  }

  async #accept(): Promise<void> {
    for await (const conn of this.#listener) {
      this.#conns.push(conn.readable.pipeTo(conn.writable).catch(() => {}));
    }
  }
}
