/**
 * The process behind `link_proxy.ts`: a TCP link with a delay each way and one bandwidth cap that all
 * connections share downstream. Takes one JSON line a command on stdin and answers each with one.
 *
 *   deno run --allow-net link_process.ts LISTEN_PORT TARGET_PORT
 */

/** How the link is; what is left out stays as it was. */
export interface LinkShape {
  /** Delay each way, in ms. */
  delayMs?: number;
  /** Added to the delay, evenly from 0 to this, in ms; bytes of one connection stay in order. */
  jitterMs?: number;
  /** Cap of all connections together, from the server to the clients, in 10^6 bits/s; 0 is none. */
  mbit?: number;
}

/** Bytes that went through, since the start. */
export interface LinkBytes {
  /** From the server. */
  down: number;
  /** To the server. */
  up: number;
  connections: number;
}

/**
 * `cut`: nothing gets through and nothing is closed, as when a cable is pulled; `drop`: connections
 * are closed and new ones refused; `restore`: ends either.
 */
export type LinkCommand =
  | { do: "shape"; shape: LinkShape }
  | { do: "cut" | "drop" | "restore" | "bytes" };

/** Most bytes taken at once: 5 ms of a 100 Mbit link. */
const PIECE_BYTES = 65_536;

/** Pieces on their way in one direction of a connection: more than 300 ms of a 100 Mbit link. */
const PIECES_MAX = 64;

/** How far the link's queue may run ahead before its reader waits, in ms. */
const QUEUE_MS_MAX = 20;

interface Piece {
  /** When it comes out at the far end, in ms. */
  at: number;
  bytes: Uint8Array;
}

class LinkProcess {
  readonly #target: number;
  readonly #port: number;
  readonly #shape: Required<LinkShape> = { delayMs: 0, jitterMs: 0, mbit: 0 };
  readonly #bytes: LinkBytes = { down: 0, up: 0, connections: 0 };
  readonly #open = new Set<Deno.TcpConn>();
  #listener: Deno.TcpListener | undefined;
  /** When the capped link is free again, in ms. */
  #freeAt = 0;
  /** Pending while the link is cut. */
  #whole: PromiseWithResolvers<void> | undefined;

  constructor(port: number, target: number) {
    this.#port = port;
    this.#target = target;
  }

  obey(command: LinkCommand): LinkBytes {
    switch (command.do) {
      case "shape":
        Object.assign(this.#shape, command.shape);
        break;
      case "cut":
        this.#whole ??= Promise.withResolvers<void>();
        break;
      case "drop":
        this.#listener?.close();
        this.#listener = undefined;
        for (const conn of this.#open) close(conn);
        break;
      case "restore":
        this.#whole?.resolve();
        this.#whole = undefined;
        this.listen();
    }
    return this.#bytes;
  }

  listen(): void {
    if (this.#listener) return;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: this.#port });
    this.#accept(this.#listener);
  }

  async #accept(listener: Deno.TcpListener): Promise<void> {
    for await (const near of listener) this.#serve(near);
  }

  async #serve(near: Deno.TcpConn): Promise<void> {
    this.#bytes.connections += 1;
    this.#open.add(near);
    await this.#whole?.promise;
    let far: Deno.TcpConn | undefined;
    try {
      far = await Deno.connect({ hostname: "127.0.0.1", port: this.#target });
      this.#open.add(far);
      near.setNoDelay(true);
      far.setNoDelay(true);
      await Promise.all([this.#pump(near, far, "up"), this.#pump(far, near, "down")]);
    } catch {
      // An end that is gone, or a server that refuses: the other end sees a closed connection.
    } finally {
      for (const conn of far ? [near, far] : [near]) {
        this.#open.delete(conn);
        close(conn);
      }
    }
  }

  /** Carries one direction until its end, or until an end of the connection fails. */
  async #pump(from: Deno.TcpConn, to: Deno.TcpConn, way: "up" | "down"): Promise<void> {
    const queue: Piece[] = [];
    const source = { isOpen: true, hasEnded: false };
    let changed = Promise.withResolvers<void>();
    const tell = (): void => {
      changed.resolve();
      changed = Promise.withResolvers<void>();
    };
    const take = async (): Promise<void> => {
      try {
        await this.#take(from, way, async (piece) => {
          queue.push(piece);
          tell();
          while (queue.length >= PIECES_MAX && source.isOpen) await changed.promise;
        });
        source.hasEnded = true;
      } catch {
        // Reset, or closed here: what follows closes the other end as well.
      }
      source.isOpen = false;
      tell();
    };
    const taking = take();
    try {
      // What was sent before an end arrives before it.
      while (queue[0] || source.isOpen) {
        const piece = queue[0];
        if (!piece) {
          await changed.promise;
          continue;
        }
        await waitUntil(piece.at);
        await this.#whole?.promise;
        await writeAll(to, piece.bytes);
        this.#bytes[way] += piece.bytes.length;
        queue.shift();
        tell();
      }
      await to.closeWrite();
    } finally {
      if (!source.hasEnded) {
        source.isOpen = false;
        tell();
        close(from);
        close(to);
      }
      await taking;
    }
  }

  async #take(
    from: Deno.TcpConn,
    way: "up" | "down",
    send: (piece: Piece) => Promise<void>,
  ): Promise<void> {
    let last = 0;
    for (;;) {
      const buffer = new Uint8Array(PIECE_BYTES);
      const length = await from.read(buffer);
      if (length === null) return;
      const { delayMs, jitterMs, mbit } = this.#shape;
      let sent = performance.now();
      if (way === "down" && mbit > 0) {
        this.#freeAt = Math.max(sent, this.#freeAt) + length / (mbit * 125);
        if (this.#freeAt - sent > QUEUE_MS_MAX) await waitUntil(this.#freeAt);
        sent = this.#freeAt;
      }
      last = Math.max(last, sent + delayMs + jitterMs * Math.random());
      await send({ at: last, bytes: buffer.subarray(0, length) });
    }
  }
}

async function waitUntil(at: number): Promise<void> {
  const ms = at - performance.now();
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}

async function writeAll(to: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await to.write(bytes.subarray(done));
}

function close(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

async function main(): Promise<void> {
  const link = new LinkProcess(Number(Deno.args[0]), Number(Deno.args[1]));
  link.listen();
  const answer = async (bytes: LinkBytes): Promise<void> => {
    const line = new TextEncoder().encode(`${JSON.stringify(bytes)}\n`);
    for (let done = 0; done < line.length;) done += await Deno.stdout.write(line.subarray(done));
  };
  await answer(link.obey({ do: "bytes" }));
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) await answer(link.obey(JSON.parse(line)));
  }
  Deno.exit(0);
}

if (import.meta.main) await main();
