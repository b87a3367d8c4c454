import { FetchHttpHandler } from "@smithy/fetch-http-handler";
import { Limiter } from "../base/concurrency.ts";

/** Calls at once to one endpoint; the guard around an origin allows fewer than this. */
const CALLS_MAX = 32;

/** Longest a connection waits for its next request, in ms; routers forget idle ones silently. */
const IDLE_MS_MAX = 30_000;

/** Bytes of a page: 1,000 keys of 1,024 bytes, each percent-encoded, and what stands around them. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;

/** Bytes of an error answer that are looked at. */
const ERROR_BYTES_MAX = 64 * 1024;

type HttpRequest = Parameters<FetchHttpHandler["handle"]>[0];
type HandlerOptions = NonNullable<Parameters<FetchHttpHandler["handle"]>[1]>;
type Handled = ReturnType<FetchHttpHandler["handle"]>;

/** Where a request went. */
export interface Endpoint {
  /** `http:` or `https:`. */
  protocol: string;
  hostname: string;
  port?: number | undefined;
}

/** What a call hands down through the SDK, and what it finds out on the way. */
export interface S3Exchange extends Pick<HandlerOptions, "abortSignal"> {
  readonly onProgress?: (() => void) | undefined;
  /** Whether the SDK leaves the body of a success to the caller. */
  readonly isStreamed?: boolean;
  /** Set once a request was made. */
  endpoint?: Endpoint;
  /** Set once an answer has begun; header names are in lower case. */
  head?: { status: number; headers: Readonly<Record<string, string>> };
}

/** A request that no HTTP answer came for. `fetch` does not say why. */
export class NoAnswerError extends Error {
  override readonly name = "NoAnswerError";
}

/** A header that `fetch` would refuse, in an error that would quote it. */
export class HeaderError extends Error {
  override readonly name = "HeaderError";
}

/** An answer that ended before its end, or did not end where it should. */
export class BrokenBodyError extends Error {
  override readonly name = "BrokenBodyError";
}

/**
 * The SDK's requests over Deno's `fetch`, with a pool of connections of their own.
 *
 * Redirects are answers, not followed. Bodies that the SDK reads are limited.
 */
export class S3Fetch implements Disposable {
  readonly #caCerts: string[];
  readonly #calls = new Limiter(CALLS_MAX);
  readonly #inner = new FetchHttpHandler({
    requestInit: () => ({ client: this.#client, redirect: "manual" }),
  });
  #client: Deno.HttpClient;

  /** `caCerts` are further certificates that may vouch for the endpoint, in PEM. */
  constructor(caCerts: string[]) {
    this.#caCerts = caCerts;
    this.#client = connections(caCerts);
  }

  /** Runs a call when there is room for one more; leaves the queue with its signal's reason. */
  async run<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return await this.#calls.run(call, signal);
  }

  /**
   * Sends one request of the SDK; `exchange` is what `send` was given as its options.
   *
   * Throws {@linkcode NoAnswerError} and {@linkcode HeaderError}.
   */
  async handle(request: HttpRequest, exchange: S3Exchange = {}): Handled {
    const { protocol, hostname, port } = request;
    exchange.endpoint = { protocol, hostname, port };
    if (Object.values(request.headers).some((value) => /[^\x20-\x7e]/.test(value))) {
      throw new HeaderError("A header holds what no header can");
    }
    const { response } = await this.#answer(request, exchange);
    const { statusCode: status, headers, body } = response;
    exchange.head = { status, headers };
    exchange.onProgress?.();
    const isSuccess = status === 200 || status === 206;
    if (isSuccess && exchange.isStreamed) return { response };
    const bytesMax = isSuccess ? PAGE_BYTES_MAX : ERROR_BYTES_MAX;
    if (body instanceof ReadableStream) {
      response.body = ReadableStream.from(
        limited(body, { bytesMax, onProgress: exchange.onProgress }),
      );
    }
    return { response };
  }

  /** Leaves all idle connections: one that died silently is seldom the only one. */
  renew(): void {
    this.#client.close();
    this.#client = connections(this.#caCerts);
  }

  /** For the SDK, which sets nothing. */
  httpHandlerConfigs(): Record<string, never> {
    return {};
  }

  /** For the SDK, which sets nothing. */
  updateHttpClientConfig(): void {}

  [Symbol.dispose](): void {
    this.#client.close();
  }

  async #answer(request: HttpRequest, options: HandlerOptions): Handled {
    try {
      return await this.#inner.handle(request, options);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new NoAnswerError("No answer", { cause: error });
    }
  }
}

function connections(caCerts: string[]): Deno.HttpClient {
  return Deno.createHttpClient({
    caCerts,
    poolMaxIdlePerHost: CALLS_MAX,
    poolIdleTimeout: IDLE_MS_MAX,
    // One connection for all reads would stand still with the slowest of them.
    http2: false,
  });
}

async function* limited(
  body: ReadableStream<Uint8Array>,
  { bytesMax, onProgress }: { bytesMax: number; onProgress: (() => void) | undefined },
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  try {
    for await (const piece of body) {
      onProgress?.();
      bytes += piece.length;
      if (bytes > bytesMax) break;
      yield piece;
    }
  } catch (error) {
    throw new BrokenBodyError("The answer broke off", { cause: error });
  }
  if (bytes > bytesMax) throw new BrokenBodyError("The answer has no end");
}
