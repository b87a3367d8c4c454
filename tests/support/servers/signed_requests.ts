/** S3 requests of the tests' own, so that what is tested does not also prepare the test. */

import { createHash, createHmac } from "node:crypto";

export interface Credentials {
  accessKey: string;
  secretKey: string;
}

export interface S3Request {
  method: string;
  /** Decoded path below the endpoint, with `/` at its start: `/bucket/key`. */
  path: string;
  query?: Record<string, string>;
  body?: Uint8Array | string;
}

/** The headers of a signed request, for whoever sends it. */
export interface Signed {
  url: string;
  headers: Record<string, string>;
}

const UNSIGNED = "UNSIGNED-PAYLOAD";

/**
 * Signs a request with AWS Signature Version 4; the body is not signed.
 * Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference.
 */
export function sign(
  request: S3Request,
  options: Credentials & { endpoint: string; region?: string; now?: Date },
): Signed {
  const region = options.region ?? "us-east-1";
  const stamp = (options.now ?? new Date()).toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = `${stamp.slice(0, 8)}/${region}/s3/aws4_request`;
  const { host } = new URL(options.endpoint);
  const path = request.path.split("/").map(encoded).join("/");
  const query = Object.entries(request.query ?? {})
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`).sort().join("&");
  const headers = { host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": stamp };
  const names = "host;x-amz-content-sha256;x-amz-date";
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`).join("");
  const canonical = [request.method, path, query, lines, names, UNSIGNED].join("\n");
  const toSign = ["AWS4-HMAC-SHA256", stamp, scope, sha256(canonical)].join("\n");
  const signature = signingKey(options.secretKey, scope).update(toSign).digest("hex");
  const authorization = `AWS4-HMAC-SHA256 Credential=${options.accessKey}/${scope}, ` +
    `SignedHeaders=${names}, Signature=${signature}`;
  return {
    url: `${options.endpoint}${path}${query === "" ? "" : `?${query}`}`,
    headers: { ...headers, authorization },
  };
}

/** RFC 3986, which `encodeURIComponent` leaves four characters short of. */
function encoded(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function signingKey(secret: string, scope: string): ReturnType<typeof createHmac> {
  let key: string | Uint8Array = `AWS4${secret}`;
  for (const part of scope.split("/")) key = createHmac("sha256", key).update(part).digest();
  return createHmac("sha256", key);
}
