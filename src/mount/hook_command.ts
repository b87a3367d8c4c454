import type { Clock } from "../base/clock.ts";
import { orAborted, within } from "../base/concurrency.ts";
import { libc } from "../base/posix.ts";
import { LinkedAbort } from "../origins/linked_abort.ts";
import { commonFolder, type HookBatch } from "./hook_changes.ts";

/** From SIGTERM to SIGKILL, in ms; the daemon's end waits for it. */
const TERM_MS = 1_000;

/** How long a process that was killed is waited for, in ms; it may hang in the kernel. */
const KILLED_MS_MAX = 5_000;

/** How long what a process has written is waited for when it has ended, in ms. */
const OUTPUT_MS_MAX = 200;

/** Of what a program writes to stderr only the end is kept, in characters. */
const STDERR_CHARS_MAX = 1_000;
const STDERR_LINES_MAX = 5;

/** Bytes written to a program's stdin at once. */
const STDIN_BYTES = 64 * 1024;

/**
 * What a program must not inherit: the keys of origins, and what systemd told this process alone.
 */
const PRIVATE = /^(AWS_|MUSICFS_SFTP_|MUSICFS_FAILPOINTS$|NOTIFY_|WATCHDOG_|LISTEN_|CREDENTIALS_)/;

/** Source: include/uapi/linux/fcntl.h. */
const F_SETFD = 2;
const FD_CLOEXEC = 1n;

/** What a run needs. */
export interface HookCall {
  batch: HookBatch;
  mountpoint: string;
  timeoutMs: number;
  /** The daemon's own environment. */
  environment: Readonly<Record<string, string>>;
  clock: Clock;
  /** Ends the run, with all that it started. */
  signal: AbortSignal;
}

/** Why a run failed. */
export interface HookFailure {
  error: string;
  /** The last lines that it wrote, if there are any. */
  stderr?: string;
}

/**
 * Runs a program in a process group of its own, with the changes as JSON lines on its stdin and
 * their counts in its environment.
 *
 * What is still there of the group when the program ends, is late, or the signal comes, gets SIGTERM
 * and a second later SIGKILL. Throws the signal's reason.
 */
export async function runHookCommand(
  argv: readonly string[],
  call: HookCall,
): Promise<HookFailure | undefined> {
  const { batch, timeoutMs, clock, signal } = call;
  let child: Deno.ChildProcess;
  keepDescriptors();
  try {
    // Not the program itself: `spawn` waits for its `exec`, and if that reads from our own mount it
    // would wait for this very thread.
    child = new Deno.Command("/bin/sh", {
      args: ["-c", 'exec "$@"', "sh", ...argv],
      cwd: "/",
      clearEnv: true,
      env: environmentOf(call),
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
      detached: true,
    }).spawn();
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
  const stdin = feed(child.stdin, batch);
  const stderr = new Tail(child.stderr);
  using limit = new LinkedAbort(signal);
  const late = clock.sleep(timeoutMs, limit.signal).then(() => undefined);
  try {
    const status = await orAborted(Promise.race([child.status, late]), signal);
    limit.abort("over");
    await endGroup(child, { clock, signal, hasEnded: status !== undefined });
    if (status?.success) return undefined;
    const error = status ? describeEnd(status) : `no end within ${timeoutMs} ms`;
    const said = await stderr.text(clock);
    return said === "" ? { error } : { error, stderr: said };
  } finally {
    limit.abort("over");
    if (signal.aborted) await endGroup(child, { clock, signal, hasEnded: false });
    // Not awaited: a process that left the group may hold the other end for ever.
    stdin.stop();
    stderr.stop();
  }
}

/**
 * Marks what this process has open as its own. Almost all of it is already; lmdb-js opens the index
 * so that every child would have it, to read and to write.
 */
function keepDescriptors(): void {
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    // One that was closed meanwhile is none: the call fails, and that is all.
    if (Number(name) > 2) libc.fcntl(Number(name), F_SETFD, FD_CLOEXEC);
  }
}

/** What a program is told by its environment, beside the daemon's own. */
function environmentOf({ batch, mountpoint, environment }: HookCall): Record<string, string> {
  const own = Object.entries(environment).filter(([name]) => !PRIVATE.test(name));
  return {
    ...Object.fromEntries(own),
    MUSICFS_MOUNTPOINT: mountpoint,
    MUSICFS_ADDED: String(batch.added),
    MUSICFS_CHANGED: String(batch.changed),
    MUSICFS_MOVED: String(batch.moved),
    MUSICFS_REMOVED: String(batch.removed),
    MUSICFS_TRUNCATED: batch.truncated ? "1" : "0",
    MUSICFS_FOLDER: commonFolder(batch.folders),
  };
}

/** The changes as lines; the folders, each as `{"kind":"folder","path":…}`, if there were too many. */
export function hookLines({ truncated, folders, changes }: HookBatch): string[] {
  const told = truncated ? folders.map((path) => ({ kind: "folder", path })) : changes;
  return told.map((each) => JSON.stringify(each) + "\n");
}

function feed(stdin: WritableStream<Uint8Array>, batch: HookBatch): { stop(): void } {
  const writer = stdin.getWriter();
  const write = async (): Promise<void> => {
    const bytes = new TextEncoder().encode(hookLines(batch).join(""));
    for (let at = 0; at < bytes.length; at += STDIN_BYTES) {
      await writer.write(bytes.subarray(at, at + STDIN_BYTES));
    }
    await writer.close();
  };
  // A program need not read what it is told.
  write().catch(() => undefined);
  return { stop: () => void writer.abort().catch(() => undefined) };
}

/** Reads a stream to its end and keeps the last of it. */
class Tail {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #reading: Promise<void>;
  #text = "";

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.#reading = this.#read().catch(() => undefined);
  }

  /** The last lines, joined by ` | `. */
  async text(clock: Clock): Promise<string> {
    await within(this.#reading, { ms: OUTPUT_MS_MAX, clock });
    const lines = this.#text.split("\n").map((line) => line.trim()).filter(Boolean);
    return lines.slice(-STDERR_LINES_MAX).join(" | ");
  }

  stop(): void {
    this.#reader.cancel().catch(() => undefined);
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for (;;) {
      const { value, done } = await this.#reader.read();
      if (done) return;
      this.#text = (this.#text + decoder.decode(value, { stream: true })).slice(-STDERR_CHARS_MAX);
    }
  }
}

/**
 * Ends what is left of a child's process group. Its number is not given to others as long as anybody
 * is in it.
 */
async function endGroup(
  child: Deno.ChildProcess,
  { clock, signal, hasEnded }: { clock: Clock; signal: AbortSignal; hasEnded: boolean },
): Promise<void> {
  if (!signalGroup(child.pid, "SIGTERM")) return;
  // Whether others than the child are left does not show; they get their second, unless all ends.
  if (!hasEnded) await within(child.status, { ms: TERM_MS, clock });
  else await clock.sleep(TERM_MS, signal).catch(() => undefined);
  signalGroup(child.pid, "SIGKILL");
  await within(child.status, { ms: KILLED_MS_MAX, clock });
}

/** False if nobody is left in the group. */
function signalGroup(leader: number, signal: Deno.Signal): boolean {
  try {
    Deno.kill(-leader, signal);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    // A program that changed its user.
    if (error instanceof Deno.errors.PermissionDenied) return false;
    throw error;
  }
}

function describeEnd({ code, signal }: Deno.CommandStatus): string {
  return signal === null ? `exit code ${code}` : `ended by ${signal}`;
}
