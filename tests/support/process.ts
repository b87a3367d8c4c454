/** Runs programs beside a test, each with a time limit: a test that hangs says what it waited for. */

/** What a program left behind. */
export interface Finished {
  /** Exit code; 128 + signal if one ended it. */
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd?: string;
  /** Added to this process's environment, or all of it with `clearEnv`. */
  env?: Record<string, string>;
  clearEnv?: boolean;
  /** Standard input, as text. */
  input?: string;
  /** Killed with SIGKILL after so long, in ms. */
  limitMs?: number;
}

/** Longest run of a program that says nothing else, in ms; a loaded machine of two cores is slow. */
const RUN_MS_MAX = 120_000;

/** Runs a program to its end; its failure is an answer, running out of time is an error. */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const limitMs = options.limitMs ?? RUN_MS_MAX;
  const child = new Deno.Command(program, {
    args: [...args],
    cwd: options.cwd ?? "/",
    env: options.env ?? {},
    clearEnv: options.clearEnv ?? false,
    stdin: options.input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, limitMs);
  try {
    if (options.input !== undefined) await writeAll(child.stdin, options.input);
    const { code, stdout, stderr } = await child.output();
    const text = new TextDecoder();
    const finished = { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
    if (late) {
      throw new Error(`No end within ${limitMs} ms: ${show(program, args)}\n${tail(finished)}`);
    }
    return finished;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a program that must succeed; its standard output. */
export async function output(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const finished = await run(program, args, options);
  if (finished.code !== 0) {
    throw new Error(`Exit code ${finished.code} from ${show(program, args)}\n${tail(finished)}`);
  }
  return finished.stdout;
}

/** Runs a line of bash, with `pipefail`, that must succeed; its standard output. */
export function shell(line: string, options: RunOptions = {}): Promise<string> {
  return output("bash", ["-o", "pipefail", "-c", line], options);
}

/** `promise`, or an error that names `what` after `limitMs`; what the promise was doing goes on. */
export async function within<T>(
  promise: Promise<T>,
  options: { ms: number; what: string },
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`Not within ${options.ms} ms: ${options.what}`)),
      options.ms,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks `holds` again and again until it says yes, at most every 25 ms; for what happens in another
 * process and tells nobody. Fails with `what` and the last error.
 */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  options: { ms: number; what: string },
): Promise<void> {
  const end = performance.now() + options.ms;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`Not within ${options.ms} ms: ${options.what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Quotes a word for a shell. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

async function writeAll(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch (error) {
    // A program that ends without reading its input is judged by its exit code.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

function show(program: string, args: readonly string[]): string {
  return [program, ...args].join(" ").slice(0, 400);
}

function tail({ stdout, stderr }: Finished): string {
  return `stdout: ${stdout.slice(-2_000)}\nstderr: ${stderr.slice(-4_000)}`;
}
