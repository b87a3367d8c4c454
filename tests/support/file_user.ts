import { cProgram } from "./c_program.ts";
import { within } from "./process.ts";

/** A daemon may be killed and started anew within this time, in ms, on a loaded machine. */
const ANSWER_MS_MAX = 60_000;

/** A process that opens, reads and closes files when it is told to; see `programs/file_user.c`. */
export class FileUser implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  #rest = "";

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Needs gcc. `prefix` is put before the command: `["setpriv", …]`. */
  static async start(prefix: readonly string[] = []): Promise<FileUser> {
    const [program = "", ...args] = [...prefix, await cProgram("file_user")];
    const pipes = { stdin: "piped", stdout: "piped", stderr: "inherit" } as const;
    return new FileUser(new Deno.Command(program, { args, cwd: "/", ...pipes }).spawn());
  }

  /** A handle. */
  async open(path: string): Promise<number> {
    return Number(await this.#ask(`open ${path}`));
  }

  /** At most 4096 bytes, never from the kernel's page cache. */
  async read(handle: number, at: number, count: number): Promise<Uint8Array> {
    const hex = await this.#ask(`read ${handle} ${at} ${count}`);
    return Uint8Array.from({ length: hex.length / 2 }, (_, i) => {
      return parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    });
  }

  async close(handle: number): Promise<void> {
    await this.#ask(`close ${handle}`);
  }

  /** Ends the process, and with it its handles. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    const ended = within(this.#child.status, { ms: ANSWER_MS_MAX, what: "a file user's end" });
    await ended.catch(() => this.#child.kill("SIGKILL"));
    await this.#lines.cancel();
    await this.#child.status;
  }

  /** The answer behind `ok`; throws for an errno. */
  async #ask(command: string): Promise<string> {
    await this.#input.write(new TextEncoder().encode(`${command}\n`));
    const what = `an answer to "${command}"`;
    const line = await within(this.#line(), { ms: ANSWER_MS_MAX, what });
    if (!line.startsWith("ok")) throw new Error(`${command}: ${line}`);
    return line.slice(3);
  }

  async #line(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#lines.read();
      if (done) throw new Error("The file user ended");
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }
}
