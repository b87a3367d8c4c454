/** Toxiproxy, and a client for its HTTP API: connections that are slow, cut up, or cut. */

import { join } from "node:path";
import { type TempDir, tempDir } from "../temp_dir.ts";
import { namedServer, TOXIPROXY_URL } from "./compose.ts";
import { freePort } from "./free_port.ts";
import { required, TOXIPROXY } from "./programs.ts";
import { ServerProcess } from "./server_process.ts";

/** What a toxic does to the bytes, with Toxiproxy's own names and units. Source: its README. */
export interface ToxicAttributes {
  /** Delay in ms, plus or minus `jitter`. */
  latency: { latency: number; jitter?: number };
  /** KB/s, of each connection. */
  bandwidth: { rate: number };
  /** Nothing gets through; the connection is closed after `timeout` ms, with 0 never. */
  timeout: { timeout: number };
  /** RST after `timeout` ms. */
  reset_peer: { timeout: number };
  /** The close is held back for `delay` ms. */
  slow_close: { delay: number };
  /** Pieces of `average_size` bytes, plus or minus `size_variation`, `delay` µs apart. */
  slicer: { average_size: number; size_variation: number; delay: number };
  /** The connection is closed after so many bytes. */
  limit_data: { bytes: number };
}

export type ToxicType = keyof ToxicAttributes;

/** Which connections have a toxic, and in which direction. */
export interface ToxicScope {
  /** Default downstream: from the server to the client. */
  stream?: "downstream" | "upstream";
  /** Chance that a connection has it, 0 to 1; default 1. */
  toxicity?: number;
}

/** Starts Toxiproxy on a free loopback port and waits until it answers. */
export async function startToxiproxy(options: { port?: number } = {}): Promise<Toxiproxy> {
  const named = options.port === undefined ? namedServer(TOXIPROXY_URL) : undefined;
  if (named) return Toxiproxy.at(named.origin);
  const dir = await tempDir("toxiproxy");
  try {
    return await Toxiproxy.start(dir, options.port ?? freePort());
  } catch (error) {
    await dir[Symbol.asyncDispose]();
    throw error;
  }
}

/** A Toxiproxy that runs; ends with its scope if this started it. */
export class Toxiproxy implements AsyncDisposable {
  readonly #dir: TempDir | undefined;
  readonly #server: ServerProcess | undefined;

  private constructor(
    /** Of the API, without `/` at its end. */
    readonly url: string,
    owned?: { dir: TempDir; server: ServerProcess },
  ) {
    this.#dir = owned?.dir;
    this.#server = owned?.server;
  }

  static async start(dir: TempDir, port: number): Promise<Toxiproxy> {
    const url = `http://127.0.0.1:${port}`;
    const server = await ServerProcess.start({
      name: "toxiproxy",
      program: required(TOXIPROXY),
      args: ["-host", "127.0.0.1", "-port", `${port}`],
      logFile: join(dir.path, "toxiproxy.log"),
      isReady: () => answers(`${url}/version`),
    });
    return new Toxiproxy(url, { dir, server });
  }

  /** One that somebody else started. */
  static at(url: string): Toxiproxy {
    return new Toxiproxy(url.replace(/\/$/, ""));
  }

  /** A proxy to a port of this machine, on a free port. */
  async proxyTo(port: number, options: { name?: string } = {}): Promise<Proxy> {
    const name = options.name ?? `proxy-${crypto.randomUUID()}`;
    const listen = freePort();
    await this.call("POST", "/proxies", {
      name,
      listen: `127.0.0.1:${listen}`,
      upstream: `127.0.0.1:${port}`,
      enabled: true,
    });
    return new Proxy(this, name, listen);
  }

  /** A call of the API that must succeed. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.url + path, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`Toxiproxy ${method} ${path}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.kill();
    await this.#dir?.[Symbol.asyncDispose]();
  }
}

/** One proxy; goes with its scope. */
export class Proxy implements AsyncDisposable {
  readonly #api: Toxiproxy;
  #toxics = 0;

  constructor(api: Toxiproxy, readonly name: string, readonly port: number) {
    this.#api = api;
  }

  /** As an S3 endpoint. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Adds a toxic, also to open connections; its name, for {@linkcode remove}. */
  async add<T extends ToxicType>(
    type: T,
    attributes: ToxicAttributes[T],
    options: ToxicScope = {},
  ): Promise<string> {
    const name = `${type}-${this.#toxics++}`;
    const { stream = "downstream", toxicity = 1 } = options;
    const toxic = { name, type, stream, toxicity, attributes };
    await this.#api.call("POST", `/proxies/${this.name}/toxics`, toxic);
    return name;
  }

  async remove(toxic: string): Promise<void> {
    await this.#api.call("DELETE", `/proxies/${this.name}/toxics/${toxic}`);
  }

  /** Removes every toxic and enables the proxy. */
  async clear(): Promise<void> {
    const toxics = await this.#api.call("GET", `/proxies/${this.name}/toxics`);
    if (!Array.isArray(toxics)) throw new Error(`Toxiproxy: no list of toxics`);
    for (const { name } of toxics) await this.remove(name);
    await this.enable();
  }

  /** Closes every connection and refuses new ones. */
  async disable(): Promise<void> {
    await this.#api.call("POST", `/proxies/${this.name}`, { enabled: false });
  }

  async enable(): Promise<void> {
    await this.#api.call("POST", `/proxies/${this.name}`, { enabled: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#api.call("DELETE", `/proxies/${this.name}`);
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return response.ok;
  } catch (error) {
    if (error instanceof TypeError) return false; // refused
    throw error;
  }
}
