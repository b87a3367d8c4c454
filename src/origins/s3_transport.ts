import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import tls from "node:tls";
import { orAborted } from "../base/concurrency.ts";

/** Connections to one endpoint; the guard around an origin allows fewer calls than this. */
const SOCKETS_MAX = 32;

/** Longest wait for a connection, TLS included, in ms. A lost SYN is sent again after 1, 3 and 7 s. */
const CONNECT_MS_MAX = 10_000;

/** Longest look at a certificate that was refused, in ms: only its dates are read. */
const CERTIFICATE_MS_MAX = 3_000;

/** What is wrong with a certificate, as Node calls it. Deno does not tell an expired one apart. */
const CERTIFICATE_CODES: ReadonlySet<string> = new Set([
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REJECTED",
  "CERT_REVOKED",
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** First and last moment at which a certificate is good, in ms since 1970. */
export interface Validity {
  fromMs: number;
  toMs: number;
}

/** A request, complete with its signature. */
export interface HttpRequest {
  /** Percent-encoded, with the query. */
  path: string;
  headers: Record<string, string>;
}

/** How the body of an answer is taken: it must be read to its end, or the connection is closed. */
export type Consumer<T> = (answer: http.IncomingMessage) => Promise<T>;

/** A call without an answer: no connection, or one that broke before the answer. */
export class TransportError extends Error {
  override readonly name = "TransportError";

  /** `code` as Node and OpenSSL call it: `ECONNREFUSED`, `CERT_HAS_EXPIRED`. */
  constructor(
    readonly code: string,
    /** For a certificate that was refused, if it could be seen. */
    readonly certificate?: Validity,
  ) {
    super(code);
  }

  get isCertificate(): boolean {
    return CERTIFICATE_CODES.has(this.code);
  }
}

/**
 * GET requests to one endpoint over pooled connections.
 *
 * `node:http` itself: the SDK's handler and `fetch` do the same at no less CPU time a request, and
 * only here errors have codes (measured, Deno 2.9.6).
 */
export class S3Transport {
  readonly #agent: http.Agent | https.Agent;
  readonly #request: typeof http.request;
  readonly #host: { host: string; port: number };
  /** Connections that have carried a request: one that is gone by the next was merely idle. */
  readonly #used = new WeakSet<Socket>();

  /** `ca` are the certificates that may vouch for the endpoint, in PEM; default those of Deno. */
  constructor(endpoint: URL, { ca }: { ca?: string } = {}) {
    const isTls = endpoint.protocol === "https:";
    const options = { keepAlive: true, maxSockets: SOCKETS_MAX, maxFreeSockets: SOCKETS_MAX };
    this.#agent = isTls
      ? new https.Agent(ca === undefined ? options : { ...options, ca: [ca] })
      : new http.Agent(options);
    this.#request = isTls ? https.request : http.request;
    this.#host = {
      host: endpoint.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: Number(endpoint.port || (isTls ? 443 : 80)),
    };
  }

  /**
   * Sends the request and hands its answer to `consume`, whatever its status.
   *
   * Throws the signal's reason as soon as it ends, else {@linkcode TransportError}, else what
   * `consume` throws. A pooled connection that the server has closed meanwhile is not an attempt:
   * the next one is taken.
   */
  async get<T>(request: HttpRequest, signal: AbortSignal, consume: Consumer<T>): Promise<T> {
    for (let stale = 0;; stale += 1) {
      signal.throwIfAborted();
      const call = new Call(this.#open(request), this.#used);
      try {
        return await call.run(signal, consume);
      } catch (error) {
        if (call.wasStale && stale < SOCKETS_MAX) continue;
        if (!(error instanceof TransportError) || !error.isCertificate) throw error;
        throw new TransportError(error.code, await orAborted(validityOf(this.#host), signal));
      }
    }
  }

  /** Closes every connection. */
  destroy(): void {
    this.#agent.destroy();
  }

  #open({ path, headers }: HttpRequest): http.ClientRequest {
    return this.#request({ ...this.#host, path, headers, method: "GET", agent: this.#agent });
  }
}

/** One request on one connection. */
class Call {
  readonly #request: http.ClientRequest;
  readonly #used: WeakSet<Socket>;
  #isReused = false;
  #hasAnswer = false;
  #hasFailed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(request: http.ClientRequest, used: WeakSet<Socket>) {
    this.#request = request;
    this.#used = used;
  }

  /** Whether the connection was one from the pool that had ended. */
  get wasStale(): boolean {
    return this.#isReused && this.#hasFailed && !this.#hasAnswer;
  }

  run<T>(signal: AbortSignal, consume: Consumer<T>): Promise<T> {
    const request = this.#request;
    return new Promise<T>((resolve, reject) => {
      const end = (): void => {
        signal.removeEventListener("abort", abort);
        clearTimeout(this.#timer);
      };
      const fail = (error: unknown): void => {
        end();
        reject(error);
        request.destroy();
      };
      const abort = (): void => fail(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      request.on("error", (error: Error) => {
        this.#hasFailed ||= !signal.aborted;
        fail(new TransportError(codeOf(error)));
      });
      request.on("socket", (socket: Socket) => this.#watch(socket, fail));
      request.on("response", (answer: http.IncomingMessage) => {
        this.#hasAnswer = true;
        clearTimeout(this.#timer);
        consume(answer).then((value) => {
          end();
          resolve(value);
          // What was not read to its end must not wait in the pool's connection.
          if (!answer.complete) request.destroy();
        }, fail);
      });
      request.end();
    });
  }

  #watch(socket: Socket, fail: (error: unknown) => void): void {
    this.#isReused = this.#used.has(socket);
    this.#used.add(socket);
    if (this.#isReused) return;
    this.#timer = setTimeout(() => fail(new TransportError("ETIMEDOUT")), CONNECT_MS_MAX);
    const connected = (): void => clearTimeout(this.#timer);
    socket.once("encrypted" in socket ? "secureConnect" : "connect", connected);
  }
}

/**
 * Fills `into` with the body of an answer.
 *
 * Never throws: a body that breaks off is short.
 *
 * @returns bytes that came; one more than `into` holds if there were more
 */
export function readInto(
  answer: http.IncomingMessage,
  into: Uint8Array<ArrayBuffer>,
  onProgress?: () => void,
): Promise<number> {
  return new Promise((resolve) => {
    let at = 0;
    answer.on("data", (bytes: Uint8Array) => {
      if (at + bytes.length > into.length) {
        resolve(into.length + 1);
        answer.destroy();
        return;
      }
      into.set(bytes, at);
      at += bytes.length;
      onProgress?.();
    });
    answer.on("end", () => resolve(at));
    answer.on("error", () => resolve(at));
    answer.on("close", () => resolve(at));
  });
}

/**
 * The body of an answer as text, or undefined if it breaks off or is longer than `bytesMax`.
 *
 * Bytes that are not UTF-8 become U+FFFD.
 */
export function readText(
  answer: http.IncomingMessage,
  { bytesMax, onProgress }: { bytesMax: number; onProgress?: (() => void) | undefined },
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const decoder = new TextDecoder();
    let length = 0;
    let text = "";
    answer.on("data", (bytes: Uint8Array) => {
      length += bytes.length;
      if (length > bytesMax) {
        resolve(undefined);
        answer.destroy();
        return;
      }
      text += decoder.decode(bytes, { stream: true });
      onProgress?.();
    });
    answer.on("end", () => resolve(answer.complete ? text + decoder.decode() : undefined));
    answer.on("error", () => resolve(undefined));
    answer.on("close", () => resolve(undefined));
  });
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}

/**
 * When the server's certificate is good, whoever vouches for it; undefined if that cannot be seen.
 * Nothing is sent over this connection.
 */
function validityOf(server: { host: string; port: number }): Promise<Validity | undefined> {
  return new Promise((resolve) => {
    const isName = !/^[\d.]+$|:/.test(server.host);
    const socket = tls.connect({
      ...server,
      rejectUnauthorized: false,
      ...(isName ? { servername: server.host } : {}),
    });
    const end = (validity: Validity | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(validity);
    };
    const timer = setTimeout(() => end(undefined), CERTIFICATE_MS_MAX);
    socket.on("error", () => end(undefined));
    socket.on("secureConnect", () => {
      const { valid_from, valid_to } = socket.getPeerCertificate();
      const [fromMs, toMs] = [Date.parse(valid_from), Date.parse(valid_to)];
      end(Number.isNaN(fromMs) || Number.isNaN(toMs) ? undefined : { fromMs, toMs });
    });
  });
}
