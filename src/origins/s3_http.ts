/**
 * One HTTP/1.1 connection: GETs without a body, one after the other.
 *
 * Bytes go from the connection into the reader's own buffer, which neither `fetch` nor `node:http`
 * do; and the errors are those of `Deno.Conn`, the same in all versions of Deno, where those of
 * `node:http` have lost their codes in one (2.6.10) and `fetch` has none.
 */

/** Longest head of an answer, and longest line between chunks, in bytes. As nginx and Node do it. */
const HEAD_BYTES_MAX = 16 * 1024;

/** Answers that only announce another: more than a few are a fault. */
const INTERIM_MAX = 8;

const [CR, LF] = [13, 10];

/** Heads are ASCII; what is not stays one character a byte. */
const ASCII = new TextDecoder("latin1");

/** An answer that is not HTTP. */
export class HttpError extends Error {
  override readonly name = "HttpError";
}

/** The other side ended the connection before its answer was whole. */
export class EndedError extends Error {
  override readonly name = "EndedError";
}

/** An answer whose body is yet to be read. */
export interface HttpAnswer {
  readonly status: number;
  /** By their names in lower case; one that came more than once is joined with ", ". */
  readonly headers: ReadonlyMap<string, string>;

  /**
   * Fills `into` with the body. A body that breaks off is short; never throws.
   *
   * @returns bytes that came; one more than `into` holds if there were more
   */
  readInto(into: Uint8Array<ArrayBuffer>, onProgress?: () => void): Promise<number>;

  /** The body as text; undefined if it breaks off or has more than `bytesMax`. Never throws. */
  readText(
    options: { bytesMax: number; onProgress?: (() => void) | undefined },
  ): Promise<string | undefined>;
}

/** What of a connection is used here. */
export type Wire = Pick<Deno.Conn, "read" | "write" | "close">;

export class HttpConnection implements HttpAnswer {
  status = 0;
  headers: ReadonlyMap<string, string> = new Map();
  /** Whether any byte came in answer to the last request. */
  hasAnswer = false;
  readonly #wire: Wire;
  /** What was read and not yet taken is at `[start, end)`. */
  readonly #buffer = new Uint8Array(HEAD_BYTES_MAX);
  #start = 0;
  #end = 0;
  #framing: "length" | "chunked" | "close" = "length";
  /** Bytes left of the body, or of its chunk. */
  #left = 0;
  #isWhole = true;
  #isKept = true;
  #isClosed = false;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Whether another request can follow: the last answer was read to its end. */
  get isReusable(): boolean {
    return this.#isWhole && this.#isKept && !this.#isClosed && this.#start === this.#end;
  }

  /** Ends what is under way. May be called more than once. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wire.close();
  }

  /**
   * Sends a request, complete with its empty line, and reads the head of the answer.
   *
   * Throws {@linkcode EndedError}, {@linkcode HttpError}, and what `Deno.Conn` throws.
   */
  async request(head: Uint8Array<ArrayBuffer>): Promise<HttpAnswer> {
    this.hasAnswer = false;
    this.#isWhole = false;
    try {
      for (let at = 0; at < head.length;) at += await this.#wire.write(head.subarray(at));
      for (let interim = 0; interim <= INTERIM_MAX; interim += 1) {
        this.#readHead(await this.#head());
        if (this.status >= 200) return this;
        if (this.status === 101) break;
      }
      throw new HttpError("no final answer");
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async readInto(into: Uint8Array<ArrayBuffer>, onProgress?: () => void): Promise<number> {
    let at = 0;
    try {
      while (at < into.length) {
        const n = await this.#read(at === 0 ? into : into.subarray(at));
        if (n === 0) return at;
        at += n;
        onProgress?.();
      }
      return !this.#isWhole && await this.#read(new Uint8Array(1)) > 0 ? at + 1 : at;
    } catch (error) {
      if (error instanceof Error) return at;
      throw error;
    }
  }

  async readText(
    { bytesMax, onProgress }: { bytesMax: number; onProgress?: (() => void) | undefined },
  ): Promise<string | undefined> {
    const piece = new Uint8Array(64 * 1024);
    const decoder = new TextDecoder();
    const texts: string[] = [];
    try {
      for (let length = 0;;) {
        const n = await this.#read(piece);
        length += n;
        if (length > bytesMax) return undefined;
        texts.push(decoder.decode(piece.subarray(0, n), { stream: n > 0 }));
        if (n === 0) return texts.join("");
        onProgress?.();
      }
    } catch (error) {
      if (error instanceof Error) return undefined;
      throw error;
    }
  }

  /** Bytes of the body, put at the start of `into`; 0 once it is whole. */
  async #read(into: Uint8Array<ArrayBuffer>): Promise<number> {
    if (this.#framing === "chunked" && this.#left === 0 && !this.#isWhole) await this.#nextChunk();
    if (this.#isWhole) return 0;
    const isEndless = this.#framing === "close";
    const fits = isEndless || into.length <= this.#left;
    const n = await this.#take(fits ? into : into.subarray(0, this.#left));
    if (isEndless) {
      this.#isWhole = n === 0;
      return n;
    }
    if (n === 0) throw new EndedError("body");
    this.#left -= n;
    if (this.#left > 0) return n;
    if (this.#framing === "length") this.#isWhole = true;
    else if (await this.#line() !== "") throw new HttpError("chunk");
    return n;
  }

  async #nextChunk(): Promise<void> {
    const size = /^([0-9a-f]{1,12})\s*(?:;|$)/i.exec(await this.#line())?.[1];
    if (size === undefined) throw new HttpError("chunk size");
    this.#left = parseInt(size, 16);
    if (this.#left > 0) return;
    for (let line = await this.#line(); line !== "";) line = await this.#line();
    this.#isWhole = true;
  }

  /** Buffered bytes, else what the connection gives; 0 at its end. */
  async #take(into: Uint8Array<ArrayBuffer>): Promise<number> {
    if (this.#start === this.#end) return await this.#wire.read(into) ?? 0;
    const n = Math.min(into.length, this.#end - this.#start);
    into.set(this.#buffer.subarray(this.#start, this.#start + n));
    this.#start += n;
    return n;
  }

  async #fill(): Promise<void> {
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    if (this.#end === this.#buffer.length) throw new HttpError("head too long");
    const n = await this.#wire.read(this.#buffer.subarray(this.#end));
    if (n === null) throw new EndedError("answer");
    this.hasAnswer = true;
    this.#end += n;
  }

  async #line(): Promise<string> {
    for (;;) {
      const at = this.#buffer.subarray(0, this.#end).indexOf(LF, this.#start);
      if (at >= 0) {
        const line = ASCII.decode(this.#buffer.subarray(this.#start, at));
        this.#start = at + 1;
        return line.replace(/\r$/, "");
      }
      await this.#fill();
    }
  }

  /** The lines of a head, without the empty one at its end. */
  async #head(): Promise<string[]> {
    for (;;) {
      const bytes = this.#buffer.subarray(0, this.#end);
      for (let at = bytes.indexOf(LF, this.#start); at >= 0; at = bytes.indexOf(LF, at + 1)) {
        const isEmptyLine = bytes[at + 1] === LF || (bytes[at + 1] === CR && bytes[at + 2] === LF);
        if (!isEmptyLine) continue;
        const text = ASCII.decode(bytes.subarray(this.#start, at));
        this.#start = at + (bytes[at + 1] === LF ? 2 : 3);
        return text.split("\n").map((line) => line.replace(/\r$/, ""));
      }
      await this.#fill();
    }
  }

  #readHead([first = "", ...lines]: string[]): void {
    const [, minor, status] = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(first) ?? [];
    if (status === undefined) throw new HttpError("status line");
    const headers = new Map<string, string>();
    for (const line of lines) {
      const cut = line.indexOf(":");
      const name = line.slice(0, cut).toLowerCase();
      if (cut < 1 || !/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) throw new HttpError("header");
      const value = line.slice(cut + 1).trim();
      const before = headers.get(name);
      headers.set(name, before === undefined ? value : `${before}, ${value}`);
    }
    this.status = Number(status);
    this.headers = headers;
    const isClose = /\bclose\b/i.test(headers.get("connection") ?? "");
    this.#isKept = minor === "1" && !isClose;
    this.#frame(headers);
  }

  #frame(headers: ReadonlyMap<string, string>): void {
    const length = headers.get("content-length");
    const encoding = headers.get("transfer-encoding");
    this.#left = 0;
    if (encoding !== undefined) {
      if (encoding.toLowerCase() !== "chunked") throw new HttpError("transfer encoding");
      this.#framing = "chunked";
      // Two ways to tell the end are one too many for another answer to follow.
      this.#isKept &&= length === undefined;
    } else if (this.status < 200 || this.status === 204 || this.status === 304) {
      this.#framing = "length";
    } else if (length !== undefined) {
      if (!/^\d{1,15}$/.test(length)) throw new HttpError("length");
      this.#framing = "length";
      this.#left = Number(length);
    } else {
      this.#framing = "close";
      this.#isKept = false;
    }
    this.#isWhole = this.#framing === "length" && this.#left === 0;
  }
}
