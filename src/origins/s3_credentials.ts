import type { S3Client } from "@aws-sdk/client-s3";
import { join } from "node:path/posix";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";

/** Credentials with an end are replaced this long before it, in ms; as the SDK does. */
const EARLY_MS = 5 * 60_000;

/** Least time between two looks for credentials, in ms, when there are none or they are refused. */
const RENEW_MS_MIN = 5_000;

/** Longest wait for each of two answers of a machine's metadata service, in ms; on AWS, elsewhere. */
const METADATA_MS_MAX = 1_000;
const NO_METADATA_MS_MAX = 200;

/** Who made this machine: "Amazon EC2" on AWS. */
const VENDOR_FILE = "/sys/class/dmi/id/sys_vendor";

/** Variables by which the SDK finds credentials without a file. */
const CHAIN_VARIABLES = [
  "AWS_CONTAINER_CREDENTIALS_FULL_URI",
  "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
  "AWS_EC2_METADATA_SERVICE_ENDPOINT",
  "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/** What a request is signed with. */
export interface Identity {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  expiration?: Date;
}

/** The SDK's chain: shared files, SSO, processes, web identity, containers, machines. */
export type Chain = NonNullable<S3Client["config"]["credentialDefaultProvider"]>;

/** What credentials are found with. */
export interface CredentialOptions {
  /** The profile the URL names; it then comes before keys in the environment. */
  profile: string | undefined;
  env: (name: string) => string | undefined;
  clock: Clock;
  chain: Chain;
}

/**
 * The credentials of one origin: environment, then systemd's `aws_credentials`, then the SDK's
 * chain. They are looked up when first needed, shortly before they end, and when a server refuses
 * them: rotated files need no restart.
 */
export class S3Credentials {
  readonly #options: CredentialOptions;
  #identity: Promise<Identity> | undefined;
  #expiresMs = Infinity;
  #renewedMs = -Infinity;

  constructor(options: CredentialOptions) {
    this.#options = options;
  }

  /** Throws `denied`, with what to do, if there are none. */
  async current(): Promise<Identity> {
    if (this.#options.clock.now() > this.#expiresMs - EARLY_MS) this.#identity = undefined;
    return await (this.#identity ??= this.#find());
  }

  /** Looks again because a server refused `used`; whether there are others now. */
  async renew(used: Identity): Promise<boolean> {
    const known = await this.current();
    if (!isSame(known, used)) return true;
    const nowMs = this.#options.clock.monotonic();
    if (nowMs - this.#renewedMs < RENEW_MS_MIN) return false;
    this.#renewedMs = nowMs;
    this.#identity = undefined;
    return !isSame(await this.current(), used);
  }

  async #find(): Promise<Identity> {
    const { clock, profile } = this.#options;
    this.#expiresMs = Infinity;
    try {
      const identity = (profile === undefined ? this.#fromEnvironment() : undefined) ??
        await this.#fromSystemd() ?? await this.#fromChain();
      this.#expiresMs = identity.expiration?.getTime() ?? Infinity;
      return identity;
    } catch (error) {
      // Sixteen calls at once and their successors look once.
      this.#expiresMs = clock.now() + EARLY_MS + RENEW_MS_MIN;
      throw error;
    }
  }

  #fromEnvironment(): Identity | undefined {
    const { env } = this.#options;
    const accessKeyId = env("AWS_ACCESS_KEY_ID")?.trim();
    const secretAccessKey = env("AWS_SECRET_ACCESS_KEY")?.trim();
    if (!accessKeyId || !secretAccessKey) return undefined;
    return identityOf({ accessKeyId, secretAccessKey }, env("AWS_SESSION_TOKEN")?.trim());
  }

  async #fromSystemd(): Promise<Identity | undefined> {
    const { env } = this.#options;
    const folder = env("CREDENTIALS_DIRECTORY");
    if (!folder) return undefined;
    const file = join(folder, "aws_credentials");
    let text: string;
    try {
      text = await Deno.readTextFile(file);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw noCredentials(`${file} cannot be read; check who may`);
    }
    const profile = this.#profile ?? "default";
    const identity = identityIn(text, profile);
    if (identity) return identity;
    throw noCredentials(
      `${file} has no keys for the profile "${profile}"; ` +
        "write aws_access_key_id and aws_secret_access_key below its heading",
    );
  }

  async #fromChain(): Promise<Identity> {
    const { chain, env } = this.#options;
    const aws = join(env("HOME") || "/", ".aws");
    const filepath = env("AWS_SHARED_CREDENTIALS_FILE") || join(aws, "credentials");
    const configFilepath = env("AWS_CONFIG_FILE") || join(aws, "config");
    const isAws = /amazon/i.test(await textIn(VENDOR_FILE) ?? "");
    const isHopeful = isAws || CHAIN_VARIABLES.some((name) => env(name)) ||
      await textIn(filepath) !== undefined || await textIn(configFilepath) !== undefined;
    // Off AWS the chain's last link would wait for a metadata service that is not there.
    if (!isHopeful) throw this.#nothingFound();
    try {
      // Made anew, for it remembers what it found; files are read again.
      return await chain({
        ...(this.#profile === undefined ? {} : { profile: this.#profile }),
        filepath,
        configFilepath,
        ignoreCache: true,
        timeout: isAws ? METADATA_MS_MAX : NO_METADATA_MS_MAX,
        maxRetries: 0,
        logger: SILENT,
      })();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      // Its message may quote a file or a command; the name is enough to look further.
      throw this.#nothingFound();
    }
  }

  #nothingFound(): MusicfsError {
    return noCredentials(
      (this.#profile === undefined ? "" : `profile "${this.#profile}" has none; `) +
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write ~/.aws/credentials, " +
        "or add anonymous=true to the URL of a public bucket",
    );
  }

  get #profile(): string | undefined {
    return this.#options.profile ?? (this.#options.env("AWS_PROFILE") || undefined);
  }
}

const SILENT = { debug(): void {}, info(): void {}, warn(): void {}, error(): void {} };

/** The keys below `[profile]` in the text of a credentials file; the last of two wins. */
function identityIn(text: string, profile: string): Identity | undefined {
  const values = new Map<string, string>();
  let inside = false;
  for (const line of text.split(/\r?\n/)) {
    const heading = /^\s*\[\s*(?:profile\s+)?([^\]]*?)\s*\]/.exec(line);
    if (heading) inside = heading[1] === profile;
    const [, name, value] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (inside && name !== undefined && value) values.set(name.toLowerCase(), value);
  }
  const accessKeyId = values.get("aws_access_key_id");
  const secretAccessKey = values.get("aws_secret_access_key");
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined;
  return identityOf({ accessKeyId, secretAccessKey }, values.get("aws_session_token"));
}

function identityOf(keys: Identity, sessionToken: string | undefined): Identity {
  return sessionToken ? { ...keys, sessionToken } : keys;
}

/** The text of a file; undefined if it cannot be read. */
async function textIn(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function isSame(a: Identity, b: Identity): boolean {
  return a.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey &&
    a.sessionToken === b.sessionToken;
}

function noCredentials(reason: string): MusicfsError {
  return new MusicfsError("denied", `no credentials found; ${reason}`, {
    op: "s3.credentials",
    subject: "",
  });
}
