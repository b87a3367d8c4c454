import { type ErrorCode, MusicfsError } from "../base/errors.ts";

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "not_found",
  ENOTDIR: "not_found",
  EACCES: "denied",
  EPERM: "denied",
  ENAMETOOLONG: "invalid",
  ELOOP: "invalid",
};

const REASONS: Readonly<Record<ErrorCode, string>> = {
  not_found: "it does not exist",
  denied: "permission denied; let the user who runs musicfs read it",
  unavailable: "the disk does not answer as it should; look at it and at its mount",
  timed_out: "the disk did not answer in time",
  changed: "it is not the version that was indexed",
  corrupt: "its bytes are damaged",
  full: "the disk is full",
  invalid: "the path cannot be used",
};

/** An error with a code of musicfs, for a path below a local origin. */
export function localError(
  code: ErrorCode,
  path: string,
  options: { op: string; reason?: string; cause?: unknown },
): MusicfsError {
  const { op, reason = REASONS[code], cause } = options;
  return new MusicfsError(code, `Cannot read "${path}": ${reason}`, { op, subject: path, cause });
}

/** What a failed call of Deno's means: a disk that gives no known reason may be well again later. */
export function codeOf(error: unknown): ErrorCode {
  if (error instanceof MusicfsError) return error.code;
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    return CODES[error.code] ?? "unavailable";
  }
  return "unavailable";
}
