import { type ErrorCode, MusicfsError } from "../base/errors.ts";
import {
  CONTROL_VERSION,
  encodeLine,
  linesOf,
  withSocketName,
  writeAll,
} from "./control_protocol.ts";

/** Nobody listens on a control socket: no daemon, or one that has not come that far. */
export class NoDaemonError extends MusicfsError {
  constructor(path: string, cause: unknown) {
    super("unavailable", `Cannot reach a daemon at ${path}`, {
      op: "control.connect",
      subject: path,
      cause,
    });
  }
}

/** The connection ended before the result came. */
export class DaemonEndedError extends MusicfsError {
  constructor(path: string, command: string, cause: unknown) {
    super("unavailable", `The daemon ended before "${command}" was done; try again`, {
      op: `control.${command}`,
      subject: path,
      cause,
    });
  }
}

/** What a daemon said that it could not do, with its own words and code. */
const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  "not_found",
  "denied",
  "unavailable",
  "timed_out",
  "changed",
  "corrupt",
  "full",
  "invalid",
]);

/**
 * Has the daemon behind the socket at `path` run `command`, and waits for its result.
 *
 * Throws {@linkcode NoDaemonError} if nobody listens, the daemon's own `MusicfsError` if it failed,
 * and {@linkcode DaemonEndedError} if it went away in between; the signal's reason if that ends the
 * wait, which leaves the daemon at work.
 */
export async function callDaemon(
  path: string,
  command: string,
  options: {
    args?: unknown;
    onProgress?: (progress: unknown) => void;
    signal?: AbortSignal;
  } = {},
): Promise<unknown> {
  const { args = {}, onProgress, signal } = options;
  signal?.throwIfAborted();
  const connection = await connect(path);
  const close = (): void => closeQuietly(connection);
  signal?.addEventListener("abort", close, { once: true });
  try {
    await writeAll(connection, encodeLine({ version: CONTROL_VERSION, id: 1, command, args }));
    for await (const line of linesOf(connection.readable)) {
      const answer: { progress?: unknown; result?: unknown; error?: unknown } = JSON.parse(line);
      if ("progress" in answer) onProgress?.(answer.progress);
      else if ("error" in answer) throw errorOf(answer.error, { path, command });
      else return answer.result;
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof MusicfsError) throw error;
    throw new DaemonEndedError(path, command, error);
  } finally {
    signal?.removeEventListener("abort", close);
    close();
  }
  signal?.throwIfAborted();
  throw new DaemonEndedError(path, command, undefined);
}

async function connect(path: string): Promise<Deno.Conn> {
  try {
    return await withSocketName(path, (name) => Deno.connect({ transport: "unix", path: name }));
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new MusicfsError("denied", `Cannot open ${path}: it belongs to another user`, {
        op: "control.connect",
        subject: path,
        cause: error,
      });
    }
    throw new NoDaemonError(path, error);
  }
}

function errorOf(error: unknown, about: { path: string; command: string }): MusicfsError {
  const { code, message }: { code?: unknown; message?: unknown } = Object(error);
  return new MusicfsError(
    typeof code === "string" && CODES.has(code) ? code as ErrorCode : "unavailable",
    typeof message === "string" ? message : "The daemon failed without saying why",
    { op: `control.${about.command}`, subject: about.path, cause: error },
  );
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
