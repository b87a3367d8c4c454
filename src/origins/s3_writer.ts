import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { FolderWriter, WriterOptions } from "./folder_writer.ts";
import type { OriginAddress } from "./open.ts";
import { retryWaitMs } from "./retrying.ts";
import { type S3CallOptions, S3Client } from "./s3_client.ts";
import { s3Error, type S3Task } from "./s3_errors.ts";
import { parseS3Url } from "./s3_url.ts";

/** Waits before a request is sent again, in ms. */
const WAITS_MS = [500, 2_000, 5_000] as const;

/** How long a request may take in ms, and how long for each byte of it: 1 Mbit/s. */
const REQUEST_MS_MAX = 30_000;
const BYTE_MS_MAX = 0.008;

/**
 * Objects below a prefix, for `musicfs index` alone: it needs s3:PutObject and s3:DeleteObject,
 * which a mount does not.
 */
export class S3Writer implements FolderWriter {
  readonly #client: S3Client;
  readonly #prefix: string;
  readonly #name: string;
  readonly #options: { clock: Clock; random: () => number };

  private constructor(
    name: string,
    parts: { client: S3Client; prefix: string; clock: Clock; random: () => number },
  ) {
    this.#name = name;
    this.#client = parts.client;
    this.#prefix = parts.prefix;
    this.#options = parts;
  }

  /** Connects nothing. Throws `invalid` for a URL that cannot be used. */
  static open({ name, url }: OriginAddress, { clock, env, random }: WriterOptions): S3Writer {
    const endpoint = env("AWS_ENDPOINT_URL_S3") || env("AWS_ENDPOINT_URL") || undefined;
    const address = parseS3Url(url, { endpoint });
    const client = new S3Client({ address, env, clock });
    return new S3Writer(name, { client, prefix: address.prefix, clock, random });
  }

  /** A bucket has no folders. */
  makeFolder(): Promise<void> {
    return Promise.resolve();
  }

  async write(path: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    const key = this.#prefix + path;
    const msMax = REQUEST_MS_MAX + body.length * BYTE_MS_MAX;
    await this.#try(path, msMax, (options) => this.#client.put({ key, body }, options));
  }

  async remove(path: string): Promise<void> {
    const key = this.#prefix + path;
    await this.#try(path, REQUEST_MS_MAX, (options) => this.#client.remove(key, options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }

  /** Sends a request, again after errors that may pass; all of them may be sent twice. */
  async #try(
    path: string,
    msMax: number,
    send: (options: S3CallOptions) => Promise<void>,
  ): Promise<void> {
    const { clock, random } = this.#options;
    const task: S3Task = { op: "s3.write", path, origin: this.#name };
    for (let attempt = 0;; attempt += 1) {
      try {
        return await this.#limited(task, msMax, send);
      } catch (error) {
        const waitMs = WAITS_MS[attempt];
        if (!(error instanceof MusicfsError) || !error.retryable || waitMs === undefined) {
          throw error;
        }
        await clock.sleep(retryWaitMs(waitMs, random()));
      }
    }
  }

  async #limited(
    task: S3Task,
    msMax: number,
    send: (options: S3CallOptions) => Promise<void>,
  ): Promise<void> {
    const over = new AbortController();
    const late = new AbortController();
    const { clock } = this.#options;
    clock.sleep(msMax, over.signal).then(
      () => late.abort(s3Error(task, "timed_out", "the server did not take it in time")),
      () => undefined,
    );
    try {
      await send({ task, signal: late.signal });
    } finally {
      over.abort();
    }
  }
}
