/** Programs that use a mount, each in a process of its own: one that hangs holds nobody up. */

import { cProgram } from "../support/c_program.ts";
import { within } from "../support/process.ts";
import { passes } from "./campaign.ts";

/** Longest that a program may go on after it was told to end, in ms. */
const END_MS_MAX = 60_000;

/** What `programs/timed_reader.c` saw. */
export interface Timing {
  opens: number;
  reads: number;
  bytes: number;
  errors: number;
  /** Files with other bytes than they should have. */
  wrong: number;
  /** Files of known bytes that were gone or replaced when they were read. */
  replaced: number;
  /** Calls that took longer than half a second. */
  slow: number;
  longestReadMs: number;
  longestOpenMs: number;
}

export interface TimedReaderOptions {
  /** Words before its command. */
  prefix?: readonly string[];
  mountpoint: string;
  /** Folder of the same files; undefined for files of known bytes. */
  copy?: string | undefined;
  names: readonly string[];
  /** Default: as fast as it goes. */
  bytesPerSecond?: number;
  seed: number;
  /** Default: until it is stopped. */
  passes?: number;
}

/** A process that reads files one after another and times each of its calls. Needs gcc. */
export class TimedReader implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<{ code: number; stdout: string; stderr: string }>;

  private constructor(child: Deno.ChildProcess, names: readonly string[]) {
    this.#child = child;
    this.#output = finish(child, names.map((name) => `${name}\0`).join(""));
    this.#output.catch(() => undefined);
  }

  static async start(options: TimedReaderOptions): Promise<TimedReader> {
    const { prefix = [], mountpoint, copy = "-", names, seed } = options;
    const { bytesPerSecond = 0, passes = 0 } = options;
    const [program = "", ...words] = [...prefix, await cProgram("timed_reader")];
    const child = new Deno.Command(program, {
      args: [...words, mountpoint, copy, `${bytesPerSecond}`, `${seed}`, `${passes}`],
      cwd: "/",
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return new TimedReader(child, names);
  }

  /** Waits for its end; what it saw, and its lines on errors. */
  async ended(ms = END_MS_MAX): Promise<Timing & { lines: string[] }> {
    const { code, stdout, stderr } = await within(this.#output, { ms, what: "end of a reader" });
    const lines = stderr.split("\n").filter((line) => line !== "");
    if (code > 2) throw new Error(`A reader ended with ${code}: ${stderr}`);
    return { ...JSON.parse(stdout) as Timing, lines };
  }

  /** Has it end after the call it is at. */
  async stop(): Promise<Timing & { lines: string[] }> {
    signal(this.#child, "SIGTERM");
    return await this.ended();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    signal(this.#child, "SIGKILL");
    await within(this.#output, { ms: END_MS_MAX, what: "end of a killed reader" });
  }
}

/** Something done again and again, one after another, until it is stopped. */
export class Looped {
  /** Times it was done to its end. */
  rounds = 0;
  longestMs = 0;
  readonly #over = new AbortController();
  readonly #done: Promise<void>;

  /** `onError` is told of each that failed; then it goes on. */
  constructor(
    readonly name: string,
    { once, onError, pauseMs }: {
      once: (round: number) => Promise<void>;
      onError: (error: unknown) => void;
      pauseMs: number;
    },
  ) {
    this.#done = this.#loop(once, { onError, pauseMs });
  }

  /** Waits for the one under way. */
  async stop(): Promise<void> {
    this.#over.abort();
    await within(this.#done, { ms: 2 * END_MS_MAX, what: `end of ${this.name}` });
  }

  async #loop(
    once: (round: number) => Promise<void>,
    { onError, pauseMs }: { onError: (error: unknown) => void; pauseMs: number },
  ): Promise<void> {
    for (let round = 0; !this.#over.signal.aborted; round += 1) {
      const began = performance.now();
      try {
        await once(round);
        this.rounds += 1;
      } catch (error) {
        onError(error);
      }
      this.longestMs = Math.max(this.longestMs, performance.now() - began);
      await passes(pauseMs, this.#over.signal);
    }
  }
}

async function finish(
  child: Deno.ChildProcess,
  input: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

function signal(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch (error) {
    // It has ended by itself.
    if (!(error instanceof TypeError)) throw error;
  }
}
