import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { statPath } from "../base/posix.ts";
import type { MetricsAddress } from "./config.ts";
import { EXPOSITION_TYPE } from "./exposition.ts";

/** How often an address that another program has is tried again, in ms. */
const RETRY_MS = 10_000;

const S_IFMT = 0o170000;
const S_IFSOCK = 0o140000;

/** What a server needs. */
export interface MetricsServerOptions {
  address: MetricsAddress;
  /** What is served at `/metrics`. */
  text: () => Promise<string>;
  clock: Clock;
  log: Log;
}

/**
 * Serves figures over HTTP at an address of this machine, until it is disposed of.
 *
 * Nothing here is worth a mount: an address that cannot be had is told of once, and tried again
 * every 10 s.
 */
export class MetricsServer implements AsyncDisposable {
  readonly #options: MetricsServerOptions;
  readonly #stop = new AbortController();
  readonly #serving: Promise<void>;

  constructor(options: MetricsServerOptions) {
    this.#options = options;
    this.#serving = this.#serve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new DOMException("musicfs is stopping", "AbortError"));
    await this.#serving;
  }

  async #serve(): Promise<void> {
    const { clock, log, address } = this.#options;
    const { signal } = this.#stop;
    for (let isTold = false; !signal.aborted; isTold = true) {
      try {
        const server = await this.#listen();
        log.info("Figures are served", { at: shown(address, server.addr) });
        await server.finished;
        if (address.transport === "unix") await removeSocket(address.path);
      } catch (error) {
        const fields = { at: shown(address), error };
        if (isTold) log.debug("Figures still cannot be served", fields);
        else log.warning("Figures cannot be served for now; the mount goes on without", fields);
      }
      await clock.sleep(RETRY_MS, signal).catch(() => undefined);
    }
  }

  /** Throws what keeps the address from being had. */
  async #listen(): Promise<Deno.HttpServer<Deno.Addr>> {
    const { address } = this.#options;
    const options = {
      // Ends connections, too: a scraper keeps its own open.
      signal: this.#stop.signal,
      onListen: () => undefined,
      onError: (error: unknown) => this.#failed(error),
    };
    const answer = (request: Request): Promise<Response> | Response => this.#answer(request);
    if (address.transport === "tcp") {
      const { hostname, port } = address;
      return Deno.serve({ ...options, hostname, port }, answer);
    }
    await removeDeadSocket(address.path);
    const before = Deno.umask(0o177);
    try {
      return Deno.serve({ ...options, path: address.path }, answer);
    } finally {
      Deno.umask(before);
    }
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, hostname } = new URL(request.url);
    // A page in a browser may have any name lead here.
    if (this.#options.address.transport === "tcp" && !isThisMachine(hostname)) {
      return new Response("Ask by a loopback address\n", { status: 421 });
    }
    if (pathname !== "/metrics") return new Response("See /metrics\n", { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("Only GET\n", { status: 405, headers: { allow: "GET, HEAD" } });
    }
    return new Response(await this.#options.text(), {
      headers: { "content-type": EXPOSITION_TYPE },
    });
  }

  #failed(error: unknown): Response {
    this.#options.log.error("Figures could not be gathered", { error });
    return new Response("Figures could not be gathered; see the log\n", { status: 500 });
  }
}

function isThisMachine(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}

function shown(address: MetricsAddress, bound?: Deno.Addr): string {
  if (address.transport === "unix") return `unix:${address.path}`;
  const port = bound && "port" in bound ? bound.port : address.port;
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return `http://${host}:${port}/metrics`;
}

/** Removes the socket that a dead daemon left; one that somebody listens on stays. */
async function removeDeadSocket(path: string): Promise<void> {
  const status = statPath(path);
  if (typeof status === "number" || (status.mode & S_IFMT) !== S_IFSOCK) return;
  try {
    const connection = await Deno.connect({ transport: "unix", path });
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    await removeSocket(path);
  }
}

async function removeSocket(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
