/**
 * What goes over `<cache>/control.sock`: one JSON object a line, in both directions.
 *
 * Several requests may be under way on one connection; answers carry the request's `id`. Every
 * request ends in exactly one `result` or `error`, after any number of `progress`.
 */

import { type ErrorCode, MusicfsError } from "../base/errors.ts";
import { libc, O_DIRECTORY, O_PATH, openFile } from "../base/posix.ts";

/** Name of the socket in the cache folder. */
export const CONTROL_SOCKET = "control.sock";

/** Changes when a client of the one version could misunderstand a daemon of the other. */
export const CONTROL_VERSION = 1;

/** Longest line, in bytes: a report of 1,000 long paths or 500 changes fits three times. */
export const CONTROL_LINE_BYTES_MAX = 16 * 1024 * 1024;

export interface ControlRequest {
  version: number;
  /** Chosen by the client, unique among its requests under way. */
  id: number;
  command: string;
  args: unknown;
}

export type ControlResponse =
  | { id: number; progress: unknown }
  | { id: number; result: unknown }
  | { id: number; error: { code: ErrorCode | "bug"; message: string } };

/** `value` as one line. */
export function encodeLine(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value) + "\n");
}

/**
 * Cuts what comes in into lines, without their newline; empty ones are left out.
 *
 * Throws `invalid` once a line is longer than {@linkcode CONTROL_LINE_BYTES_MAX}. What follows the
 * last newline is not a line: its sender went away in the middle.
 */
export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<string, void, void> {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const line = textOf([...parts, chunk.subarray(start, end)]);
      parts = [];
      bytes = 0;
      start = end + 1;
      if (line !== "") yield line;
    }
    const rest = chunk.subarray(start);
    bytes += rest.length;
    if (bytes > CONTROL_LINE_BYTES_MAX) {
      throw new MusicfsError("invalid", `Cannot read a line of more than ${bytes} bytes`, {
        op: "control.read",
        subject: "control.sock",
      });
    }
    if (rest.length > 0) parts.push(rest.slice());
  }
}

/** Writes all of `bytes`; `Deno.Conn.write` may take only a part of them. */
export async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += await connection.write(bytes.subarray(done));
}

/** Bytes of a socket's name that the kernel takes (`sun_path`, with its NUL). Source: unix(7). */
const SOCKET_NAME_BYTES_MAX = 107;

/**
 * Calls `use` with a name for the socket that is short enough, whatever the folder is called.
 *
 * A long one is reached as `/proc/self/fd/N/control.sock`, which is good only during the call.
 */
export async function withSocketName<T>(
  path: string,
  use: (name: string) => T | Promise<T>,
): Promise<T> {
  if (new TextEncoder().encode(path).length <= SOCKET_NAME_BYTES_MAX) return await use(path);
  const slash = path.lastIndexOf("/");
  const descriptor = openFile(path.slice(0, slash), O_PATH | O_DIRECTORY);
  if (descriptor < 0) return await use(path);
  try {
    return await use(`/proc/self/fd/${descriptor}${path.slice(slash)}`);
  } finally {
    libc.close(descriptor);
  }
}

function textOf(parts: readonly Uint8Array[]): string {
  const decoder = new TextDecoder();
  return parts.map((part) => decoder.decode(part, { stream: true })).join("") + decoder.decode();
}
