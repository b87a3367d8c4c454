/**
 * An S3 server of a few lines, for answers that no real one gives. It knows ListObjectsV2 and ranged
 * GETs and checks no signature; what a real server makes of requests, MinIO tells.
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import net from "node:net";
import tls from "node:tls";

/** First byte of a TLS connection, which a server without TLS answers in plain text. */
const TLS_HANDSHAKE = 0x16;

/** One request as it arrived. */
export interface FakeRequest {
  /** Percent-decoded, without the bucket: "" for the bucket itself. */
  key: string;
  query: ReadonlyMap<string, string>;
  headers: ReadonlyMap<string, string>;
  /** Counts the connections from 1. */
  connection: number;
}

/** What is answered. Content-Length is that of the body unless the headers say otherwise. */
export interface FakeAnswer {
  /** 0: nothing is answered, and the connection ends, or hangs if `then` says so. */
  status: number;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** `close`: the connection ends with the body; `hang`: it stays, and nothing more comes. */
  then?: "close" | "hang";
}

interface Stored {
  bytes: Uint8Array<ArrayBuffer>;
  etag: string;
  time: string;
}

export class FakeS3 implements AsyncDisposable {
  readonly requests: FakeRequest[] = [];
  /** Answers in place of the server, where it gives something. */
  answer: (request: FakeRequest) => FakeAnswer | undefined = () => undefined;
  /** Most keys of a page, whatever is asked for. */
  pageKeysMax = 1_000;
  connections = 0;
  readonly #objects = new Map<string, Stored>();
  readonly #sockets = new Set<net.Socket>();
  readonly #server: net.Server;
  #isTls: boolean;

  private constructor(certificate: { cert: string; key: string } | undefined) {
    this.#isTls = certificate !== undefined;
    const serve = (socket: net.Socket): void => this.#serve(socket);
    this.#server = certificate ? tls.createServer(certificate, serve) : net.createServer(serve);
    // A client that refuses the certificate is none of the server's concern.
    this.#server.on("tlsClientError", () => undefined);
  }

  static async start(certificate?: { cert: string; key: string }): Promise<FakeS3> {
    const fake = new FakeS3(certificate);
    const { promise, resolve } = Promise.withResolvers<void>();
    fake.#server.listen(0, "127.0.0.1", resolve);
    await promise;
    return fake;
  }

  get endpoint(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("It does not listen");
    return `${this.#isTls ? "https" : "http"}://127.0.0.1:${address.port}`;
  }

  /** The URL of an origin; `options` begin with "&". */
  url(prefix = "", options = ""): string {
    return `s3://music/${prefix}?endpoint=${this.endpoint}${options}`;
  }

  put(
    key: string,
    body: Uint8Array<ArrayBuffer> | string,
    time = "2024-05-06T07:08:09.123Z",
  ): void {
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    this.#objects.set(key, { bytes, etag: createHash("md5").update(bytes).digest("hex"), time });
  }

  remove(key: string): void {
    this.#objects.delete(key);
  }

  /** The answer of an honest server. */
  honest(request: FakeRequest): FakeAnswer {
    return request.key === "" ? this.#list(request.query) : this.#get(request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await promise;
  }

  #serve(socket: net.Socket): void {
    this.connections += 1;
    const connection = this.connections;
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined);
    let text = "";
    socket.on("data", (bytes: Uint8Array) => {
      if (bytes[0] === TLS_HANDSHAKE) write(socket, { status: 400, then: "close" });
      text += new TextDecoder("latin1").decode(bytes);
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        const request = parseRequest(text.slice(0, end), connection);
        text = text.slice(end + 4);
        this.requests.push(request);
        write(socket, this.answer(request) ?? this.honest(request));
      }
    });
  }

  #list(query: ReadonlyMap<string, string>): FakeAnswer {
    const prefix = query.get("prefix") ?? "";
    const after = query.get("continuation-token");
    const isFlat = query.get("delimiter") !== "/";
    const names = new Set<string>();
    for (const key of this.#objects.keys()) {
      if (!key.startsWith(prefix)) continue;
      const cut = isFlat ? -1 : key.indexOf("/", prefix.length);
      names.add(cut < 0 ? key : key.slice(0, cut + 1));
    }
    const sorted = [...names].sort(byUtf8);
    const rest = after === undefined
      ? sorted
      : sorted.filter((name) => byUtf8(name, decodeURIComponent(after)) > 0);
    const max = Math.min(Number(query.get("max-keys") ?? 1_000), this.pageKeysMax);
    const page = rest.slice(0, max);
    const last = page.at(-1);
    const next = page.length < rest.length && last !== undefined
      ? `<NextContinuationToken>${encodeURIComponent(last)}</NextContinuationToken>`
      : "";
    return {
      status: 200,
      body: listing(
        `<Prefix>${encoded(prefix)}</Prefix><KeyCount>${page.length}</KeyCount>` +
          `<IsTruncated>${next !== ""}</IsTruncated>${next}` +
          page.map((name) => this.#listed(name, { prefix, isFlat })).join(""),
      ),
    };
  }

  #listed(name: string, { prefix, isFlat }: { prefix: string; isFlat: boolean }): string {
    const object = this.#objects.get(name);
    if (!object || (!isFlat && name.indexOf("/", prefix.length) >= 0)) {
      return `<CommonPrefixes><Prefix>${encoded(name)}</Prefix></CommonPrefixes>`;
    }
    return contents(name, object.bytes.length, { etag: object.etag, time: object.time });
  }

  #get({ key, headers }: FakeRequest): FakeAnswer {
    const object = this.#objects.get(key);
    if (!object) return errorAnswer(404, "NoSuchKey");
    const etag = `"${object.etag}"`;
    if (headers.get("if-match") !== etag) return errorAnswer(412, "PreconditionFailed");
    const [, first = "0", last = "0"] = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "") ??
      [];
    const { bytes } = object;
    if (Number(first) >= bytes.length) return errorAnswer(416, "InvalidRange");
    const body = bytes.slice(Number(first), Number(last) + 1);
    const range = `bytes ${first}-${Number(first) + body.length - 1}/${bytes.length}`;
    return { status: 206, headers: { etag, "content-range": range }, body };
  }
}

/** A ListBucketResult with this in it. */
export function listing(inside: string): string {
  return '<?xml version="1.0" encoding="UTF-8"?>\n' +
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>music</Name>' +
    `${inside}<EncodingType>url</EncodingType></ListBucketResult>`;
}

/** One object in a listing. */
export function contents(
  key: string,
  size: number | string,
  { etag = "0123456789abcdef", time = "2024-05-06T07:08:09.123Z" } = {},
): string {
  return `<Contents><Key>${encoded(key)}</Key><LastModified>${time}</LastModified>` +
    `<ETag>&quot;${etag}&quot;</ETag><Size>${size}</Size></Contents>`;
}

/** An error as S3 tells it; `inside` stands beside the code. */
export function errorAnswer(status: number, code: string, inside = ""): FakeAnswer {
  return { status, body: `<Error><Code>${code}</Code>${inside}</Error>` };
}

function parseRequest(head: string, connection: number): FakeRequest {
  const [first = "", ...lines] = head.split("\r\n");
  const [, target = ""] = first.split(" ");
  const [path = "", search = ""] = target.split("?");
  const key = path.split("/").slice(2).map(decodeURIComponent).join("/");
  const query = new Map<string, string>();
  for (const pair of search.split("&")) {
    const [name = "", value = ""] = pair.split("=");
    query.set(decodeURIComponent(name), decodeURIComponent(value));
  }
  const headers = new Map<string, string>();
  for (const line of lines) {
    const cut = line.indexOf(":");
    headers.set(line.slice(0, cut).toLowerCase(), line.slice(cut + 1).trim());
  }
  return { key, query, headers, connection };
}

function write(socket: net.Socket, { status, headers = {}, body = "", then }: FakeAnswer): void {
  if (status === 0) return void (then === "hang" || socket.destroy());
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const lines = [`HTTP/1.1 ${status} Answer`];
  const all = { "content-length": String(bytes.length), ...headers };
  for (const [name, value] of Object.entries(all)) {
    if (value !== "") lines.push(`${name}: ${value}`);
  }
  // In one piece: the second one would wait for 40 ms (Nagle).
  socket.write(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), bytes]));
  if (then === "close") socket.end();
}

/** As servers do it: a space is a plus, a slash stays. */
function encoded(text: string): string {
  return encodeURIComponent(text).replaceAll("%20", "+").replaceAll("%2F", "/");
}

function byUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
