import { MusicfsError } from "../base/errors.ts";

/** Signed for when the URL names an endpoint and no region: what MinIO and most others expect. */
const REGION_DEFAULT = "us-east-1";

/** What may stand behind the `?` of an S3 URL. */
const OPTIONS = ["endpoint", "region", "style", "profile", "ca_file", "anonymous"] as const;

type OptionName = typeof OPTIONS[number];

/** Where and how a bucket is reached, as its URL says. Holds no secret. */
export interface S3Address {
  bucket: string;
  /** What all keys of the origin begin with: "" for the whole bucket, else it ends with a `/`. */
  prefix: string;
  /** An http or https URL; undefined for AWS itself. */
  endpoint: string | undefined;
  /** Undefined where the URL says neither region nor endpoint: the environment may know. */
  region: string | undefined;
  /** Whether the bucket stands in the path rather than in the host's name. */
  pathStyle: boolean;
  /** The profile of the shared credential files. */
  profile: string | undefined;
  /** PEM file with the authorities that may vouch for the endpoint; may begin with `~/`. */
  caFile: string | undefined;
  /** Requests are not signed: for public buckets. */
  anonymous: boolean;
}

/**
 * Reads `s3://bucket/prefix?endpoint=URL&region=NAME`; a `+` is a plus everywhere.
 *
 * Further options: `style=virtual|path`, `profile=NAME`, `ca_file=FILE`, `anonymous=true`.
 * `endpoint` is that of the environment, for a URL that names none.
 * Throws `invalid` for anything else, with neither a value nor a user of the URL in the message.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseS3Url } from "./s3_url.ts";
 *
 * const { bucket, prefix, pathStyle } = parseS3Url("s3://music/my%20cds/?endpoint=http://nas:9000");
 * assert.deepEqual({ bucket, prefix, pathStyle }, {
 *   bucket: "music",
 *   prefix: "my cds/",
 *   pathStyle: true,
 * });
 * ```
 */
export function parseS3Url(
  url: string,
  { endpoint: elsewhere }: { endpoint?: string | undefined } = {},
): S3Address {
  const match = /^s3:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?(#.*)?$/is.exec(url);
  if (!match) throw unusable("s3://", "write s3://bucket/prefix?endpoint=URL&region=NAME");
  const [, bucket = "", path = "", query = "", fragment] = match;
  if (bucket.includes("@")) {
    throw unusable(
      "s3://",
      "keys do not belong into a URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    );
  }
  if (!/^[a-z0-9][a-z0-9._-]{0,254}$/i.test(bucket)) {
    throw unusable("s3://", "it names no bucket; write s3://bucket/prefix");
  }
  const shown = `s3://${bucket}`;
  if (fragment !== undefined) throw unusable(shown, 'write "#" as %23');
  const options = readOptions(query, shown);
  const endpoint = endpointOf(options.get("endpoint") ?? elsewhere, shown);
  return {
    bucket,
    prefix: prefixOf(path, shown),
    endpoint,
    region: regionOf(options.get("region"), shown) ?? (endpoint ? REGION_DEFAULT : undefined),
    pathStyle: oneOf("style", options.get("style"), ["virtual", "path"], shown) !== undefined
      ? options.get("style") === "path"
      : endpoint !== undefined,
    profile: options.get("profile"),
    caFile: options.get("ca_file"),
    anonymous: oneOf("anonymous", options.get("anonymous"), ["true", "false"], shown) === "true",
  };
}

function prefixOf(path: string, shown: string): string {
  const prefix = decoded(path, "its path", shown).replace(/^\/+|\/+$/g, "");
  if (prefix.includes("\0")) throw unusable(shown, "its path contains a NUL");
  return prefix === "" ? "" : `${prefix}/`;
}

function readOptions(query: string, shown: string): Map<OptionName, string> {
  const options = new Map<OptionName, string>();
  for (const part of query.split("&")) {
    if (part === "") continue;
    const cut = part.indexOf("=");
    const name = cut < 0 ? part : part.slice(0, cut);
    const known = OPTIONS.find((option) => option === name);
    if (known === undefined) {
      const what = /^\w{1,30}$/.test(name) ? `"${name}"` : "what it says behind the ?";
      throw unusable(shown, `${what} is not one of ${OPTIONS.join(", ")}`);
    }
    if (options.has(known)) throw unusable(shown, `it says ${known} twice`);
    const value = cut < 0 ? "" : decoded(part.slice(cut + 1), known, shown);
    if (value === "" || value.includes("\0")) throw unusable(shown, `${known} has no value`);
    options.set(known, value);
  }
  return options;
}

function endpointOf(value: string | undefined, shown: string): string | undefined {
  if (value === undefined) return undefined;
  const url = URL.parse(value);
  if (!url || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw unusable(shown, "endpoint must be as http://host:port or https://host");
  }
  if (url.username !== "" || url.password !== "") {
    throw unusable(shown, "endpoint must not contain a user or a password");
  }
  return url.href.replace(/\/+$/, "");
}

function regionOf(value: string | undefined, shown: string): string | undefined {
  if (value === undefined || /^[a-z0-9][a-z0-9-]{0,62}$/i.test(value)) return value;
  throw unusable(shown, "region must be letters, digits and hyphens");
}

function oneOf(
  name: OptionName,
  value: string | undefined,
  allowed: readonly string[],
  shown: string,
): string | undefined {
  if (value === undefined || allowed.includes(value)) return value;
  throw unusable(shown, `${name} must be ${allowed.join(" or ")}`);
}

/** Percent-decoded; a `+` stays a plus. */
function decoded(text: string, what: string, shown: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw unusable(shown, `${what} is not percent-encoded UTF-8; write "%" as %25`);
  }
}

function unusable(shown: string, reason: string): MusicfsError {
  return new MusicfsError("invalid", `Cannot use the origin ${shown}: ${reason}`, {
    op: "origin.open",
    subject: shown,
  });
}
