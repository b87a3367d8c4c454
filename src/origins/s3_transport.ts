import { lookup } from "node:dns/promises";
import type { Clock } from "../base/clock.ts";
import { Limiter, orAborted, within } from "../base/concurrency.ts";
import { EndedError, type HttpAnswer, HttpConnection, HttpError } from "./s3_http.ts";

/** Connections to one endpoint; the guard around an origin allows fewer calls than this. */
const CONNECTIONS_MAX = 32;

/** Longest wait for a connection, TLS included, in ms. A lost SYN is sent again after 1, 3 and 7 s. */
const CONNECT_MS_MAX = 10_000;

/** Longest a connection waits for its next request, in ms; routers forget idle ones silently. */
const IDLE_MS_MAX = 30_000;

/** Codes of errors to which Deno gives none. */
const CODES: readonly (readonly [new (...words: never[]) => Error, string])[] = [
  [Deno.errors.ConnectionRefused, "ECONNREFUSED"],
  [Deno.errors.ConnectionReset, "ECONNRESET"],
  [Deno.errors.ConnectionAborted, "ECONNABORTED"],
  [Deno.errors.BrokenPipe, "EPIPE"],
  [Deno.errors.TimedOut, "ETIMEDOUT"],
  [Deno.errors.UnexpectedEof, "ECONNRESET"],
  [EndedError, "ECONNRESET"],
  [HttpError, "HTTP"],
];

/** A request, complete with its signature. */
export interface HttpRequest {
  /** Percent-encoded, with the query. */
  path: string;
  /** `host` among them; no name or value may hold a line break. */
  headers: Record<string, string>;
}

/** How an answer is taken. What it does not read to its end costs the connection. */
export type Consumer<T> = (answer: HttpAnswer) => Promise<T>;

/** A call without an answer: no connection, or one that broke before the answer. */
export class TransportError extends Error {
  override readonly name = "TransportError";

  constructor(
    /** As the system calls it: `ECONNREFUSED`, `ENOTFOUND`; or `TLS` and `HTTP`. */
    readonly code: string,
    /** What TLS found wrong; from this machine's own library. */
    readonly detail = "",
  ) {
    super(detail === "" ? code : `${code}: ${detail}`);
  }
}

/** GET requests to one endpoint over pooled connections. */
export class S3Transport {
  readonly #endpoint: { hostname: string; port: number; isTls: boolean };
  readonly #caCerts: string[];
  readonly #clock: Clock;
  readonly #calls = new Limiter(CONNECTIONS_MAX);
  /** The one that was used last is at the end. */
  #idle: { connection: HttpConnection; sinceMs: number }[] = [];
  readonly #busy = new Set<HttpConnection>();

  /** `ca` are further certificates that may vouch for the endpoint, in PEM. */
  constructor(endpoint: URL, { clock, ca }: { clock: Clock; ca?: string }) {
    const isTls = endpoint.protocol === "https:";
    const port = Number(endpoint.port || (isTls ? 443 : 80));
    this.#endpoint = { hostname: endpoint.hostname.replace(/^\[(.*)\]$/, "$1"), port, isTls };
    this.#caCerts = ca === undefined ? [] : [ca];
    this.#clock = clock;
  }

  /**
   * Sends the request and hands its answer to `consume`, whatever its status.
   *
   * Throws the signal's reason as soon as it ends, else {@linkcode TransportError}, else what
   * `consume` throws. A pooled connection that the server has closed meanwhile is not an attempt:
   * the next one is taken.
   */
  async get<T>(request: HttpRequest, signal: AbortSignal, consume: Consumer<T>): Promise<T> {
    return await this.#calls.run(async () => {
      for (;;) {
        const pooled = this.#pooled();
        const connection = pooled ?? await this.#connected(signal);
        try {
          const exchange = this.#exchange(connection, request, { signal, consume });
          // Closing it ends the exchange too, but not in every version of Deno (2.8.3).
          return await orAborted(exchange, signal);
        } catch (error) {
          const isStale = pooled !== undefined && !connection.hasAnswer;
          // A connection that died silently is seldom the only one.
          if (isStale && signal.aborted) this.#dropIdle();
          if (!isStale || signal.aborted) throw error;
        }
      }
    }, signal);
  }

  /** Closes every connection; calls under way fail. */
  destroy(): void {
    this.#dropIdle();
    for (const connection of this.#busy) connection.close();
  }

  async #exchange<T>(
    connection: HttpConnection,
    { path, headers }: HttpRequest,
    { signal, consume }: { signal: AbortSignal; consume: Consumer<T> },
  ): Promise<T> {
    let head = `GET ${path} HTTP/1.1\r\n`;
    for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`;
    const bytes = new TextEncoder().encode(`${head}\r\n`);
    const close = (): void => {
      this.#busy.delete(connection);
      connection.close();
    };
    signal.addEventListener("abort", close, { once: true });
    this.#busy.add(connection);
    try {
      const answer = await connection.request(bytes).catch((error: unknown) => {
        throw transportError(error);
      });
      const value = await consume(answer);
      signal.throwIfAborted();
      return value;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener("abort", close);
      this.#busy.delete(connection);
      if (!connection.isReusable) connection.close();
      else this.#idle.push({ connection, sinceMs: this.#clock.monotonic() });
    }
  }

  #pooled(): HttpConnection | undefined {
    const last = this.#idle.pop();
    if (!last) return undefined;
    if (this.#clock.monotonic() - last.sinceMs <= IDLE_MS_MAX) return last.connection;
    last.connection.close();
    this.#dropIdle();
    return undefined;
  }

  #dropIdle(): void {
    for (const { connection } of this.#idle.splice(0)) connection.close();
  }

  async #connected(signal: AbortSignal): Promise<HttpConnection> {
    const connecting = this.#connect();
    let isWanted = false;
    try {
      const limited = within(connecting, { ms: CONNECT_MS_MAX, clock: this.#clock });
      const wire = await orAborted(limited, signal);
      if (!wire) throw new TransportError("ETIMEDOUT");
      isWanted = true;
      return new HttpConnection(wire);
    } finally {
      if (!isWanted) connecting.then((wire) => wire.close(), () => undefined);
    }
  }

  async #connect(): Promise<Deno.Conn> {
    const { hostname, port, isTls } = this.#endpoint;
    const tcp = await Deno.connect({ hostname, port }).catch(async (error: unknown) => {
      throw await nameError(hostname) ?? transportError(error);
    });
    tcp.setNoDelay(true);
    tcp.setKeepAlive(true);
    if (!isTls) return tcp;
    let tls: Deno.TlsConn | undefined;
    try {
      tls = await Deno.startTls(tcp, { hostname, caCerts: this.#caCerts });
      await tls.handshake();
      return tls;
    } catch (error) {
      tls?.close();
      if (!(error instanceof Deno.errors.InvalidData)) throw transportError(error);
      throw new TransportError("TLS", error.message);
    }
  }
}

/** Why a name has no address; undefined if it has one. Deno's own error does not tell. */
async function nameError(hostname: string): Promise<unknown> {
  try {
    await lookup(hostname);
    return undefined;
  } catch (error) {
    return transportError(error);
  }
}

function transportError(error: unknown): unknown {
  if (error instanceof TransportError || !(error instanceof Error)) return error;
  const known = CODES.find(([kind]) => error instanceof kind);
  if (known) return new TransportError(known[1]);
  const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
  return new TransportError(code);
}
