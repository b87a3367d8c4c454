import { lookup } from "node:dns/promises";
import type { Clock } from "../base/clock.ts";
import { within } from "../base/concurrency.ts";
import type { Endpoint } from "./s3_fetch.ts";

/** Longest wait for a connection, TLS included, in ms. A lost SYN is sent again after 1 s. */
const CONNECT_MS_MAX = 3_000;

/** How long a diagnosis stands, in ms: many calls fail at once. */
const VALID_MS = 3_000;

/** What sends `fetch` to another machine than the endpoint, which NO_PROXY may undo. */
const PROXY_VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/** Codes of errors to which Deno gives none, or not in all versions. */
const CODES: readonly (readonly [new (...words: never[]) => Error, string])[] = [
  [Deno.errors.ConnectionRefused, "ECONNREFUSED"],
  [Deno.errors.ConnectionReset, "ECONNRESET"],
  [Deno.errors.ConnectionAborted, "ECONNABORTED"],
  [Deno.errors.BrokenPipe, "EPIPE"],
  [Deno.errors.TimedOut, "ETIMEDOUT"],
  [Deno.errors.UnexpectedEof, "ECONNRESET"],
];

/** Why an endpoint gives no answer. */
export interface Diagnosis {
  /** As the system calls it: `ECONNREFUSED`, `ENOTFOUND`; or `TLS`, `PROXY`, and `NONE` for nothing wrong. */
  code: string;
  /** What TLS found wrong; from this machine's own library. */
  detail: string;
}

/**
 * Finds out why `fetch` got no answer, of which its own errors have but a text: by a connection of
 * its own to the same endpoint, whose errors have classes.
 */
export class S3Diagnosis {
  readonly #options: { caCerts: string[]; clock: Clock; env: (name: string) => string | undefined };
  #last: { made: Promise<Diagnosis>; endMs: number } | undefined;

  constructor(
    options: { caCerts: string[]; clock: Clock; env: (name: string) => string | undefined },
  ) {
    this.#options = options;
  }

  /** Takes up to 3 s, and is not made anew for as long. Never throws. */
  async of(endpoint: Endpoint): Promise<Diagnosis> {
    const { clock } = this.#options;
    if (this.#last && clock.monotonic() < this.#last.endMs) return await this.#last.made;
    const last = { made: this.#diagnose(endpoint), endMs: Infinity };
    this.#last = last;
    const made = await last.made;
    last.endMs = clock.monotonic() + VALID_MS;
    return made;
  }

  async #diagnose(endpoint: Endpoint): Promise<Diagnosis> {
    const { clock, env } = this.#options;
    const made = await within(this.#connect(endpoint), { ms: CONNECT_MS_MAX, clock });
    const isProxied = PROXY_VARIABLES.some((name) => env(name) || env(name.toLowerCase()));
    // A certificate is refused behind a proxy too; all else may be the proxy's doing.
    if (isProxied && made?.code !== "TLS") return { code: "PROXY", detail: "" };
    return made ?? { code: "ETIMEDOUT", detail: "" };
  }

  async #connect({ protocol, hostname: host, port }: Endpoint): Promise<Diagnosis> {
    const hostname = host.replace(/^\[(.*)\]$/, "$1");
    const isTls = protocol === "https:";
    let connection: Deno.TcpConn;
    try {
      connection = await Deno.connect({ hostname, port: port ?? (isTls ? 443 : 80) });
    } catch (error) {
      return await nameTrouble(hostname) ?? diagnosisOf(error);
    }
    if (!isTls) {
      connection.close();
      return { code: "NONE", detail: "" };
    }
    try {
      using tls = await Deno.startTls(connection, { hostname, caCerts: this.#options.caCerts });
      await tls.handshake();
      return { code: "NONE", detail: "" };
    } catch (error) {
      return error instanceof Deno.errors.InvalidData
        ? { code: "TLS", detail: error.message }
        : diagnosisOf(error);
    }
  }
}

/** Why a name has no address; undefined if it has one. Deno's own error does not tell. */
async function nameTrouble(hostname: string): Promise<Diagnosis | undefined> {
  try {
    await lookup(hostname);
    return undefined;
  } catch (error) {
    return diagnosisOf(error);
  }
}

function diagnosisOf(error: unknown): Diagnosis {
  if (!(error instanceof Error)) throw error;
  const known = CODES.find(([kind]) => error instanceof kind);
  const own = "code" in error && typeof error.code === "string" ? error.code : error.name;
  return { code: known?.[1] ?? own, detail: "" };
}
