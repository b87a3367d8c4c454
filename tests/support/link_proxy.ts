/**
 * A network link beside a test: delay, jitter, one bandwidth cap for all connections, byte counts,
 * and outages. The same as `link_proxy.py`, which the figures were measured with, in a
 * process of its own. The delay is of what is sent; connections themselves are made at once.
 */

import type { LinkBytes, LinkCommand, LinkShape } from "./link_process.ts";
import { within } from "./process.ts";
import { freePort } from "./servers/free_port.ts";

export type { LinkBytes, LinkShape };

/** Longest wait for an answer of the link's process, in ms. */
const ANSWER_MS_MAX = 20_000;

/** A link from a free loopback port to `target`; ends with its scope. */
export async function startLink(target: number, shape: LinkShape = {}): Promise<Link> {
  const link = new Link(target);
  try {
    await link.ready();
    await link.shape(shape);
    return link;
  } catch (error) {
    await link[Symbol.asyncDispose]();
    throw error;
  }
}

export class Link implements AsyncDisposable {
  readonly port: number;
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  /** Commands are answered in their order; the next is sent after the last one's answer. */
  #last: Promise<unknown> = Promise.resolve();
  #rest = "";

  constructor(target: number) {
    this.port = freePort();
    const script = new URL("./link_process.ts", import.meta.url).pathname;
    const words = ["run", "--quiet", "--no-config", "--no-lock", "--no-check", "--allow-net"];
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [...words, script, `${this.port}`, `${target}`],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** As an S3 endpoint. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async ready(): Promise<void> {
    await this.#line();
  }

  /** Changes the link, also for open connections. */
  async shape(shape: LinkShape): Promise<void> {
    await this.#tell({ do: "shape", shape });
  }

  /** Nothing gets through any more, and no end is told: as when a cable is pulled. */
  async cut(): Promise<void> {
    await this.#tell({ do: "cut" });
  }

  /** Closes every connection and refuses new ones: as when the server's process is gone. */
  async drop(): Promise<void> {
    await this.#tell({ do: "drop" });
  }

  /** Ends `cut` and `drop`; what was on its way when it was cut arrives. */
  async restore(): Promise<void> {
    await this.#tell({ do: "restore" });
  }

  /** Bytes so far. */
  async bytes(): Promise<LinkBytes> {
    return await this.#tell({ do: "bytes" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last.catch(() => {});
    // The process ends with its stdin.
    await this.#writer.close().catch(() => {});
    const end = this.#child.status;
    await within(end, { ms: 2_000, what: "end of the link" }).catch(() => {
      this.#child.kill("SIGKILL");
    });
    await end;
    await this.#reader.cancel();
  }

  #tell(command: LinkCommand): Promise<LinkBytes> {
    const answer = this.#last.catch(() => {}).then(async () => {
      await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(command)}\n`));
      return await this.#line();
    });
    this.#last = answer;
    return answer;
  }

  async #line(): Promise<LinkBytes> {
    while (!this.#rest.includes("\n")) {
      const { value, done } = await within(this.#reader.read(), {
        ms: ANSWER_MS_MAX,
        what: "an answer of the link",
      });
      if (done) throw new Error("The link's process has ended");
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return JSON.parse(line);
  }
}
