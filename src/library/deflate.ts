/** Deflate without a header (RFC 1951), with a limit on what comes out. */

import { MusicfsError } from "../base/errors.ts";

/** Bytes that are inflated at a time: deflate makes at most 1,032 of one. */
const PIECE_BYTES = 16 * 1024;

export async function deflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return await new Response(stream).bytes();
}

/**
 * Undoes `deflate`, off the main thread's back: it goes on in pieces.
 *
 * Throws `corrupt` unless exactly `length` bytes come out; not many more are made before it does.
 */
export async function inflate(
  bytes: Uint8Array<ArrayBuffer>,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const inflating = new DecompressionStream("deflate-raw");
  const writing = writeAll(inflating.writable.getWriter(), bytes);
  // What went wrong shows to the reader, too.
  writing.catch(() => undefined);
  const whole = new Uint8Array(length);
  const reader = inflating.readable.getReader();
  let done = 0;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      if (done + next.value.length > length) throw wrong("more comes out than there should be");
      whole.set(next.value, done);
      done += next.value.length;
    }
    await writing;
  } catch (error) {
    await reader.cancel(error).catch(() => undefined);
    await writing.catch(() => undefined);
    throw error instanceof MusicfsError ? error : wrong("it is not deflated", error);
  }
  if (done === length) return whole;
  throw wrong("less comes out than there should be");
}

async function writeAll(
  writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<void> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    await writer.write(bytes.subarray(at, at + PIECE_BYTES));
  }
  await writer.close();
}

function wrong(what: string, cause?: unknown): MusicfsError {
  return new MusicfsError("corrupt", `Cannot inflate: ${what}`, {
    op: "deflate.inflate",
    subject: "deflated bytes",
    cause,
  });
}
