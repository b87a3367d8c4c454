import { type ErrorCode, MusicfsError } from "../base/errors.ts";

/** Status codes of SFTP 3 that mean something to us. Source: draft-ietf-secsh-filexfer-02, 7. */
export const STATUS_EOF = 1;
const CODES: Readonly<Record<number, ErrorCode>> = { 2: "not_found", 3: "denied" };

const REASONS: Readonly<Record<ErrorCode, string>> = {
  not_found: "it does not exist on the server",
  denied: "the server refused; let the user who logs in read it",
  unavailable: "the server does not answer as it should",
  timed_out: "the server did not answer in time",
  changed: "it is not the version that was indexed",
  corrupt: "its bytes are damaged",
  full: "the disk is full",
  invalid: "the path cannot be used",
};

/** An error with a code of musicfs, for a path below an SFTP origin. */
export function sftpError(
  code: ErrorCode,
  path: string,
  options: { op: string; reason?: string; cause?: unknown },
): MusicfsError {
  const { op, reason = REASONS[code], cause } = options;
  return new MusicfsError(code, `Cannot read "${path}": ${reason}`, { op, subject: path, cause });
}

/** The number that an SFTP server gave as its reason; undefined for all other errors. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || error instanceof MusicfsError || !("code" in error)) return;
  return typeof error.code === "number" ? error.code : undefined;
}

/**
 * What a failed request means; an error that is one of ours passes as it is.
 *
 * A server that gives no known reason may be well again later.
 */
export function requestError(
  error: unknown,
  { op, path }: { op: string; path: string },
): MusicfsError {
  if (error instanceof MusicfsError) return error;
  return sftpError(CODES[statusOf(error) ?? -1] ?? "unavailable", path, { op, cause: error });
}
