import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import type { MetricsAddress } from "../../src/mount/config.ts";
import { MetricsServer } from "../../src/mount/metrics_server.ts";
import { eventually } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const LIMIT = { ms: 20_000, what: "what the server logs" };

/** What a server logged: level and message, and the address it told of. */
function listeningLog(): { log: Log; lines: string[]; at: () => string } {
  const lines: string[] = [];
  let at = "";
  const note = (level: string) => (message: string, fields: Record<string, unknown> = {}): void => {
    lines.push(`${level} ${message}`);
    at = String(fields.at);
  };
  const log = { ...silentLog, info: note("info"), warning: note("warning"), error: note("error") };
  return { log, lines, at: () => at };
}

const anyPort: MetricsAddress = { transport: "tcp", hostname: "127.0.0.1", port: 0 };

Deno.test("MetricsServer answers /metrics, and nothing else", async () => {
  const { log, lines, at } = listeningLog();
  let fails = false;
  const text = (): Promise<string> =>
    fails ? Promise.reject(new Error("no figures")) : Promise.resolve("m 1\n");
  await using _server = new MetricsServer({ address: anyPort, text, clock: systemClock, log });
  await eventually(() => lines.length > 0, LIMIT);
  assert.deepEqual(lines, ["info Figures are served"]);
  const url = new URL(at());
  const ask = async (
    path: string,
    init?: RequestInit,
  ): Promise<[status: number, type: string | null, text: string]> => {
    const response = await fetch(new URL(path, url), init);
    return [response.status, response.headers.get("content-type"), await response.text()];
  };
  const good = [200, "text/plain; version=0.0.4; charset=utf-8", "m 1\n"];
  assert.deepEqual(await ask("/metrics"), good);
  assert.deepEqual(await ask("/metrics?x=1"), good);
  assert.equal((await ask("/"))[0], 404);
  assert.equal((await ask("/metrics", { method: "POST" }))[0], 405);
  assert.equal(await statusFor(url, "evil.example.org"), 421);
  assert.equal(await statusFor(url, `localhost:${url.port}`), 200);
  fails = true;
  assert.equal((await ask("/metrics"))[0], 500);
  assert.deepEqual(lines.slice(1), ["error Figures could not be gathered"]);
});

/** Asks by hand: `fetch` sets the host itself. */
async function statusFor({ hostname, port }: URL, host: string): Promise<number> {
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const request = `GET /metrics HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  await connection.write(new TextEncoder().encode(request));
  const bytes = new Uint8Array(4096);
  const length = await connection.read(bytes) ?? 0;
  return Number(new TextDecoder().decode(bytes.subarray(0, length)).split(" ")[1]);
}

Deno.test("MetricsServer tells once that its port is taken, and has it when it is free", async () => {
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const { log, lines, at } = listeningLog();
  const clock = new VirtualClock();
  const address: MetricsAddress = { transport: "tcp", hostname: "127.0.0.1", port };
  const text = (): Promise<string> => Promise.resolve("m 1\n");
  await using _server = new MetricsServer({ address, text, clock, log });
  await eventually(() => lines.length > 0, LIMIT);
  await clock.advance(25_000);
  assert.deepEqual(lines, ["warning Figures cannot be served for now; the mount goes on without"]);
  taken.close();
  await eventually(async () => {
    await clock.advance(10_000);
    return lines.length > 1;
  }, LIMIT);
  assert.equal(await (await fetch(at())).text(), "m 1\n");
});

Deno.test("MetricsServer's socket is its user's alone, replaces a dead one's, and goes with it", async () => {
  await using dir = await tempDir("metrics");
  const path = `${dir.path}/m.sock`;
  const address: MetricsAddress = { transport: "unix", path };
  const text = (): Promise<string> => Promise.resolve("m 1\n");
  const start = (): [MetricsServer, string[]] => {
    const { log, lines } = listeningLog();
    return [new MetricsServer({ address, text, clock: systemClock, log }), lines];
  };
  await leaveDeadSocket(path);
  {
    const [first, told] = start();
    await using _first = first;
    await eventually(() => told.length > 0, LIMIT);
    assert.deepEqual(told, ["info Figures are served"]);
    assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    assert.equal(await askSocket(path), "m 1\n");
    const [second, refused] = start();
    await using _second = second;
    await eventually(() => refused.length > 0, LIMIT);
    assert.match(refused[0] ?? "", /^warning /);
    assert.equal(await askSocket(path), "m 1\n");
  }
  await assert.rejects(Deno.lstat(path), Deno.errors.NotFound);
});

async function askSocket(path: string): Promise<string> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  return await (await fetch("http://localhost/metrics", { client })).text();
}

/** As a daemon leaves it that was killed. */
async function leaveDeadSocket(path: string): Promise<void> {
  const code = `Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} }); Deno.exit(0);`;
  const { success } = await new Deno.Command(Deno.execPath(), { args: ["eval", code] }).output();
  assert(success && (await Deno.lstat(path)).isSocket);
}
