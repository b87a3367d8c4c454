import { type ErrorCode, MusicfsError } from "../base/errors.ts";
import type { Diagnosis } from "./s3_diagnosis.ts";
import type { Endpoint } from "./s3_fetch.ts";

/** What was being done, for the message. `op` is `s3.list`, `s3.stat`, `s3.read` or `s3.write`. */
export interface S3Task {
  op: string;
  /** Path below the origin. */
  path: string;
  /** The origin's name. */
  origin: string;
}

/** An answer that is no success. */
export interface ErrorAnswer {
  status: number;
  /** The server's word for it, "" if it gave none. */
  code: string;
  /** Where AWS says the bucket is. */
  region: string | undefined;
  /** The server's clock in ms since 1970; NaN if it did not say. */
  serverMs: number;
}

interface Meaning {
  code: ErrorCode;
  reason: string;
}

const SKEWED = "the clocks differ too much; set this machine's clock";

const NO_WRITE =
  "access denied; the keys need s3:PutObject and s3:DeleteObject on the objects below .musicfs/";

/** Meanings that the server's word decides, whatever the status. */
const BY_CODE: Readonly<Record<string, Meaning>> = {
  AccessDenied: denied(
    "access denied; the keys need s3:ListBucket on the bucket and s3:GetObject on its objects",
  ),
  AllAccessDisabled: denied("the bucket's owner has disabled all access"),
  AccountProblem: denied("there is a problem with the account that owns the bucket"),
  ExpiredToken: denied("the session token has expired; fetch new credentials"),
  ExpiredTokenException: denied("the session token has expired; fetch new credentials"),
  InvalidAccessKeyId: denied("the server does not know this access key; check AWS_ACCESS_KEY_ID"),
  InvalidObjectState: denied("the object is archived; restore it first"),
  InvalidToken: denied("the session token is not valid; check AWS_SESSION_TOKEN"),
  NoSuchKey: { code: "not_found", reason: "it does not exist" },
  PreconditionFailed: { code: "changed", reason: "it is not the version that was indexed" },
  InvalidRange: { code: "changed", reason: "it is shorter than the version that was indexed" },
  RequestExpired: denied(SKEWED),
  RequestTimeTooSkewed: denied(SKEWED),
  SignatureDoesNotMatch: denied(
    "the secret key does not fit the access key; check AWS_SECRET_ACCESS_KEY",
  ),
  SlowDown: { code: "unavailable", reason: "the server asks for fewer requests (SlowDown)" },
  RequestTimeout: { code: "unavailable", reason: "the server gave up waiting (RequestTimeout)" },
};

/** Codes after which other credentials may help. */
const CREDENTIAL_CODES: ReadonlySet<string> = new Set([
  "ExpiredToken",
  "ExpiredTokenException",
  "InvalidAccessKeyId",
  "InvalidToken",
  "SignatureDoesNotMatch",
  "TokenRefreshRequired",
]);

/** What the system says about a call without an answer. */
const BY_SYSTEM_CODE: Readonly<Record<string, string>> = {
  EAI_AGAIN: "the name service does not answer (DNS)",
  ECONNABORTED: "the connection broke",
  ECONNREFUSED: "the connection was refused; is the server running?",
  ECONNRESET: "the server closed the connection",
  EHOSTUNREACH: "there is no route to the server",
  ENETUNREACH: "the network cannot be reached",
  ENOTFOUND: "its host name is unknown (DNS)",
  EPIPE: "the server closed the connection",
  NONE: "the server closed the connection, or its answer is not HTTP",
  PROXY: "no answer through the proxy that HTTP_PROXY or HTTPS_PROXY names",
};

/** An error with a code of musicfs; nothing in it comes from the server but a word of letters. */
export function s3Error(
  task: S3Task,
  code: ErrorCode,
  reason: string,
  cause?: unknown,
): MusicfsError {
  const verb = task.op === "s3.list" ? "list" : task.op === "s3.write" ? "write" : "read";
  const preposition = verb === "write" ? "to" : "from";
  const message = `Cannot ${verb} "${task.path}" ${preposition} ${task.origin}: ${reason}`;
  return new MusicfsError(code, message, { op: task.op, subject: task.path, cause });
}

/** Whether the server refused the keys rather than what was done with them. */
export function isAboutCredentials({ code }: ErrorAnswer): boolean {
  return CREDENTIAL_CODES.has(code);
}

/** The server's word for an error that the SDK has read; "" if it is no answer of S3. */
export function errorCodeOf(error: Error | undefined): string {
  // Its name is of the SDK's making where the server's answer has none.
  const code = error !== undefined && "Code" in error ? error.Code : undefined;
  return typeof code === "string" && /^[A-Za-z][A-Za-z0-9.]{0,63}$/.test(code) ? code : "";
}

/** What an answer that is no success means. `nowMs` is this machine's clock. */
export function answerError(answer: ErrorAnswer, task: S3Task, nowMs: number): MusicfsError {
  const { status, code, region } = answer;
  const known = BY_CODE[code];
  if (code === "AccessDenied" && task.op === "s3.write") return s3Error(task, "denied", NO_WRITE);
  if (known) {
    const apart = Math.round((nowMs - answer.serverMs) / 1_000);
    const skew = known.reason === SKEWED && Math.abs(apart) >= 60
      ? ` (it is ${Math.abs(apart)} s ${apart > 0 ? "ahead of" : "behind"} the server's)`
      : "";
    return s3Error(task, known.code, known.reason + skew);
  }
  if (code === "NoSuchBucket") {
    // Only of the root: a bucket that vanished takes no file out of the library.
    const gone = task.path === "" ? "not_found" : "unavailable";
    return s3Error(task, gone, "the bucket does not exist; check its name and the endpoint");
  }
  const { code: meaning, reason } = byStatus(status, region);
  const said = code === "" ? `${status}, without an error of S3` : `${status} ${code}`;
  return s3Error(task, meaning, `${reason} (${said})`);
}

function byStatus(status: number, region: string | undefined): Meaning {
  if (region !== undefined) {
    return denied(`the bucket is in the region ${region}; add region=${region} to the URL`);
  }
  if (status === 412) return { code: "changed", reason: "it is not the version that was indexed" };
  if (status === 416) {
    return { code: "changed", reason: "it is shorter than the version that was indexed" };
  }
  if (status === 401 || status === 403) return denied("the server refuses access");
  if (status === 429 || status === 503) {
    return { code: "unavailable", reason: "the server asks for fewer requests" };
  }
  if (status >= 500) return { code: "unavailable", reason: "the server failed" };
  if (status >= 300 && status < 400) return denied("the server points elsewhere; check the region");
  if (status === 404) {
    return { code: "unavailable", reason: "the server knows no such path; check the endpoint" };
  }
  if (status >= 400) return denied("the server refuses the request; check endpoint and region");
  return { code: "unavailable", reason: "the server's answer makes no sense" };
}

/** What a call without an answer means. */
export function noAnswerError(
  { code, detail }: Diagnosis,
  task: S3Task,
  { protocol, hostname, port }: Endpoint,
): MusicfsError {
  const at = `${protocol}//${hostname}${port === undefined ? "" : `:${port}`}: `;
  if (code === "TLS") return s3Error(task, "denied", at + tlsReason(detail));
  if (code === "ETIMEDOUT") return s3Error(task, "timed_out", `${at}no connection in time`);
  const reason = BY_SYSTEM_CODE[code] ?? `the connection failed (${code})`;
  return s3Error(task, "unavailable", at + reason);
}

/** The text decides no more than which advice stands behind it. */
function tlsReason(detail: string): string {
  if (!detail.startsWith("invalid peer certificate")) {
    return `no TLS connection (${detail}); http instead of https?`;
  }
  const advice = /expired|not valid yet|before/i.test(detail)
    ? "renew it, or set this machine's clock"
    : /not valid for name/i.test(detail)
    ? "check the endpoint's name"
    : "name the authority that signed it with ca_file=FILE";
  return `the server's certificate was refused (${detail}); ${advice}`;
}

function denied(reason: string): Meaning {
  return { code: "denied", reason };
}
