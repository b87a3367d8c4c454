import { cProgram } from "../support/c_program.ts";

/** What readers saw, added up over all of them. */
export interface ReadTotals {
  reads: number;
  opens: number;
  bytes: number;
  /** Reads that gave a wrong byte, a mix of versions, or a length that no version has. */
  wrong: number;
  /** Reads and opens that took longer than the limit. */
  overLimit: number;
  eio: number;
  estale: number;
  /** All other errors; `lastError` is one of them. */
  otherErrors: number;
  lastError: string;
  longestMs: number;
  longest: string;
}

export interface KnownReadersOptions {
  /** The folder that is read; need not be a mount. */
  mount: string;
  /** Of files that `writeKnown` wrote, relative to it. */
  paths: readonly string[];
  processes: number;
  /** By each of them, at most; they end before with `stop()`. */
  reads: number;
  seed: number;
  /** A read that takes longer is counted. */
  limitMs: number;
  /** Mean wait before each read, in microseconds; default: none. */
  paceUs?: number;
}

/** Processes that read files of known bytes at random and check each byte (`known_reads.c`). */
export class KnownReaders implements AsyncDisposable {
  /** What they wrote, but for how far they are. */
  readonly lines: string[] = [];
  readonly total: ReadTotals = {
    reads: 0,
    opens: 0,
    bytes: 0,
    wrong: 0,
    overLimit: 0,
    eio: 0,
    estale: 0,
    otherErrors: 0,
    lastError: "",
    longestMs: 0,
    longest: "",
  };
  /** Resolves when all have ended; the totals are complete then. */
  readonly done: Promise<void>;
  readonly #children: Deno.ChildProcess[];
  readonly #inputs: WritableStreamDefaultWriter<Uint8Array>[];
  readonly #at: number[];

  private constructor(children: Deno.ChildProcess[]) {
    this.#children = children;
    this.#inputs = children.map((child) => child.stdin.getWriter());
    this.#at = children.map(() => 0);
    this.done = Promise.all(children.map((child, i) => this.#follow(child, i))).then(() => {});
  }

  static async start(options: KnownReadersOptions): Promise<KnownReaders> {
    const program = await cProgram("known_reads");
    const { mount, paths, processes, reads, seed, limitMs, paceUs = 0 } = options;
    const children = Array.from({ length: processes }, (_none, i) =>
      new Deno.Command(program, {
        args: [mount, seed * 1_000 + i, reads, limitMs, paceUs].map(String),
        stdin: "piped",
        stdout: "piped",
        stderr: "inherit",
      }).spawn());
    const readers = new KnownReaders(children);
    const names = new TextEncoder().encode(paths.map((path) => `f${path}\0`).join("") + "\0");
    await Promise.all(readers.#inputs.map((input) => input.write(names)));
    return readers;
  }

  /** Reads made so far, as of the last second. */
  get readsSoFar(): number {
    return this.#at.reduce((sum, at) => sum + at, 0);
  }

  /** Has them end after the read they are at, and waits for that. */
  async stop(): Promise<ReadTotals> {
    await this.#closeInputs();
    await this.done;
    return this.total;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #closeInputs(): Promise<void> {
    // One that has ended has no input any more.
    for (const input of this.#inputs) await input.close().catch(() => undefined);
  }

  async #follow(child: Deno.ChildProcess, number: number): Promise<void> {
    let rest = "";
    let last = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line.startsWith("at ")) this.#at[number] = Number(line.slice(3));
        else if (line.startsWith("{")) last = line;
        else this.lines.push(line);
      }
    }
    const { code } = await child.status;
    // It gives up after ten wrong reads, and has no totals then.
    if (last === "") {
      this.total.wrong += 1;
      this.lines.push(`reader ${number} ended with ${code}`);
    } else this.#add(JSON.parse(last));
    // Sanitizers ask for it; it fails if the child has ended first.
    await this.#inputs[number]?.close().catch(() => undefined);
  }

  #add(seen: Record<string, number> & { longest: string; last_error: string }): void {
    const { total } = this;
    total.reads += seen["reads"] ?? 0;
    total.opens += seen["opens"] ?? 0;
    total.bytes += seen["bytes"] ?? 0;
    total.wrong += seen["wrong"] ?? 0;
    total.overLimit += seen["over_limit"] ?? 0;
    total.eio += seen["eio"] ?? 0;
    total.estale += seen["estale"] ?? 0;
    total.otherErrors += seen["other_errors"] ?? 0;
    if (seen.last_error !== "") total.lastError = seen.last_error;
    const longestMs = seen["longest_ms"] ?? 0;
    if (longestMs < total.longestMs) return;
    total.longestMs = longestMs;
    total.longest = seen.longest;
  }
}
