import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type S3Client as Sdk,
} from "@aws-sdk/client-s3";
import { join } from "node:path/posix";
import type { ByteRange } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { MusicfsError } from "../base/errors.ts";
import { LinkedAbort } from "./linked_abort.ts";
import { type Identity, S3Credentials } from "./s3_credentials.ts";
import { S3Diagnosis } from "./s3_diagnosis.ts";
import {
  answerError,
  type ErrorAnswer,
  errorCodeOf,
  isAboutCredentials,
  noAnswerError,
  s3Error,
  type S3Task,
} from "./s3_errors.ts";
import {
  BrokenBodyError,
  type Endpoint,
  HeaderError,
  NoAnswerError,
  type S3Exchange,
  S3Fetch,
} from "./s3_fetch.ts";
import { chainFor, regionFor, sdkFor } from "./s3_sdk.ts";
import type { S3Address } from "./s3_url.ts";

/** A call that waited this long in vain, in ms, makes all idle connections suspect. */
const SILENT_MS_MIN = 2_000;

/** Stands for no keys at all. */
const ANONYMOUS: Identity = { accessKeyId: "", secretAccessKey: "" };

/** Why a call is let go of that has ended; nobody sees it. */
const OVER = "over";

/** What requests are made with. */
export interface S3ClientOptions {
  address: S3Address;
  env: (name: string) => string | undefined;
  clock: Clock;
}

/** How a request is made. */
export interface S3CallOptions {
  task: S3Task;
  signal: AbortSignal;
  onProgress?: (() => void) | undefined;
}

/** One page of a folder. */
export interface S3ListRequest {
  prefix: string;
  /** Where the page begins; undefined for the first. */
  token: string | undefined;
  keysMax: number;
  /** Names all keys below the prefix, not only what is before the next `/`. */
  isFlat?: boolean;
}

/** Bytes of one version of an object. */
export interface S3ReadRequest {
  key: string;
  range: ByteRange;
  /** Its ETag, without quotes. */
  version: string;
}

/** An answer with the bytes that were asked for, or other ones. */
export interface S3Answer {
  status: number;
  /** By their names in lower case. */
  headers: Readonly<Record<string, string>>;
  body: ReadableStream<Uint8Array>;
}

interface SendOptions extends S3CallOptions {
  isStreamed: boolean;
  /** Whether 204 is an answer to it. */
  mayBeEmpty?: boolean;
}

/** What came of a request that was sent: an answer, good or bad, or none from that endpoint. */
type Outcome<T> = { value: T } | { answer: ErrorAnswer } | { endpoint: Endpoint };

interface Transport {
  fetch: S3Fetch;
  diagnosis: S3Diagnosis;
}

/** The SDK's client for one bucket: one attempt a call, typed errors. */
export class S3Client implements AsyncDisposable {
  readonly #options: S3ClientOptions;
  readonly #credentials: S3Credentials | undefined;
  readonly #sdks = new WeakMap<Identity, Sdk>();
  readonly #calls = new Set<LinkedAbort>();
  #transport: Promise<Transport> | undefined;
  #region: Promise<string> | undefined;
  #isClosed = false;

  /** Throws `invalid` for a bucket and a region that make no address. */
  constructor(options: S3ClientOptions) {
    this.#options = options;
    const { address, env, clock } = options;
    const chain = chainFor(address);
    this.#credentials = address.anonymous
      ? undefined
      : new S3Credentials({ profile: address.profile, env, clock, chain });
  }

  /** Asks for a page of a listing, keys in the server's own encoding. */
  async list(
    { prefix, token, keysMax, isFlat = false }: S3ListRequest,
    options: S3CallOptions,
  ): Promise<ListObjectsV2CommandOutput> {
    const input = {
      Bucket: this.#options.address.bucket,
      ...(token === undefined ? {} : { ContinuationToken: token }),
      ...(isFlat ? {} : { Delimiter: "/" }),
      EncodingType: "url",
      MaxKeys: keysMax,
      Prefix: prefix,
    } as const;
    return await this.#call({ ...options, isStreamed: false }, async (sdk, exchange) => {
      return await sdk.send(new ListObjectsV2Command(input), exchange);
    });
  }

  /** Asks for bytes and hands the answer to `consume`, which has to read it to its end. */
  async read<T>(
    { key, range, version }: S3ReadRequest,
    options: S3CallOptions,
    consume: (answer: S3Answer) => Promise<T>,
  ): Promise<T> {
    const input = {
      Bucket: this.#options.address.bucket,
      Key: key,
      Range: `bytes=${range.offset}-${range.offset + range.length - 1}`,
      IfMatch: `"${version}"`,
    };
    return await this.#call({ ...options, isStreamed: true }, async (sdk, exchange) => {
      const { Body } = await sdk.send(new GetObjectCommand(input), exchange);
      const { head } = exchange;
      if (!Body || !head || !isSuccess(head.status)) throw new NoAnswerError("No body");
      return await consume({ ...head, body: Body.transformToWebStream() });
    });
  }

  /** Stores an object of at most 5 GB in one request; it is there whole or not at all. */
  async put(
    { key, body }: { key: string; body: Uint8Array<ArrayBuffer> },
    options: S3CallOptions,
  ): Promise<void> {
    const input = { Bucket: this.#options.address.bucket, Key: key, Body: body };
    await this.#call({ ...options, isStreamed: false }, async (sdk, exchange) => {
      await sdk.send(new PutObjectCommand(input), exchange);
    });
  }

  /** Removes an object; one that is not there is removed already. */
  async remove(key: string, options: S3CallOptions): Promise<void> {
    const input = { Bucket: this.#options.address.bucket, Key: key };
    const send = { ...options, isStreamed: false, mayBeEmpty: true };
    await this.#call(send, async (sdk, exchange) => {
      await sdk.send(new DeleteObjectCommand(input), exchange);
    });
  }

  /** Closes every connection; calls under way and later ones fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    const opened = this.#transport;
    this.#transport = undefined;
    for (const call of this.#calls) call.abort(OVER);
    await opened?.then(({ fetch }) => fetch[Symbol.dispose](), () => undefined);
  }

  async #call<T>(
    options: SendOptions,
    run: (sdk: Sdk, exchange: S3Exchange) => Promise<T>,
  ): Promise<T> {
    const { signal, task } = options;
    signal.throwIfAborted();
    if (this.#isClosed) throw s3Error(task, "unavailable", "the origin was closed");
    const transport = await orAborted(this.#connect(task), signal);
    return await transport.fetch.run(() => this.#signedCall(transport, options, run), signal);
  }

  /** Where the keys were refused and others are found, the request is sent once more with those. */
  async #signedCall<T>(
    transport: Transport,
    options: SendOptions,
    run: (sdk: Sdk, exchange: S3Exchange) => Promise<T>,
  ): Promise<T> {
    const { signal, task } = options;
    for (let isRenewed = false;; isRenewed = true) {
      const identity = await orAborted(this.#identity(task), signal);
      const sdk = await orAborted(this.#sdk(identity, transport), signal);
      const outcome = await this.#attempt(
        transport.fetch,
        options,
        (exchange) => run(sdk, exchange),
      );
      if ("value" in outcome) return outcome.value;
      if ("endpoint" in outcome) {
        const found = await orAborted(transport.diagnosis.of(outcome.endpoint), signal);
        throw noAnswerError(found, task, outcome.endpoint);
      }
      const { answer } = outcome;
      const isHopeless = isRenewed || !isAboutCredentials(answer);
      if (isHopeless || !await orAborted(this.#renew(identity, task), signal)) {
        throw answerError(answer, task, this.#options.clock.now());
      }
    }
  }

  async #attempt<T>(
    fetch: S3Fetch,
    { signal, task, onProgress, isStreamed, mayBeEmpty }: SendOptions,
    run: (exchange: S3Exchange) => Promise<T>,
  ): Promise<Outcome<T>> {
    const { clock } = this.#options;
    const startMs = clock.monotonic();
    using call = new LinkedAbort(signal);
    this.#calls.add(call);
    const exchange: S3Exchange = { abortSignal: call.signal, onProgress, isStreamed };
    try {
      const value = await run(exchange);
      signal.throwIfAborted();
      const { head } = exchange;
      const isGood = !head || isSuccess(head.status) || (mayBeEmpty && head.status === 204);
      return isGood ? { value } : { answer: errorAnswer(head, undefined) };
    } catch (error) {
      const { head } = exchange;
      if (signal.aborted) {
        const isSilent = !head && clock.monotonic() - startMs >= SILENT_MS_MIN;
        if (isSilent && !this.#isClosed) fetch.renew();
        throw signal.reason;
      }
      if (this.#isClosed) throw s3Error(task, "unavailable", "the origin was closed");
      return failure(error, exchange, task);
    } finally {
      this.#calls.delete(call);
      // What was not read to its end ends now.
      call.abort(OVER);
    }
  }

  async #sdk(identity: Identity, { fetch }: Transport): Promise<Sdk> {
    const known = this.#sdks.get(identity);
    if (known) return known;
    const { address, env, clock } = this.#options;
    const region = await (this.#region ??= regionFor(address, env));
    const signing = identity === ANONYMOUS ? undefined : identity;
    const made = sdkFor({ address, region, identity: signing, fetch, clock });
    this.#sdks.set(identity, made);
    return made;
  }

  async #identity(task: S3Task): Promise<Identity> {
    try {
      return await this.#credentials?.current() ?? ANONYMOUS;
    } catch (error) {
      throw about(error, task);
    }
  }

  async #renew(used: Identity, task: S3Task): Promise<boolean> {
    try {
      return await this.#credentials?.renew(used) ?? false;
    } catch (error) {
      throw about(error, task);
    }
  }

  async #open(caFile: string | undefined): Promise<Transport> {
    const { clock, env } = this.#options;
    const path = caFile?.startsWith("~/") ? join(env("HOME") || "/", caFile.slice(2)) : caFile;
    const caCerts = path === undefined ? [] : [await Deno.readTextFile(path)];
    return { fetch: new S3Fetch(caCerts), diagnosis: new S3Diagnosis({ caCerts, clock, env }) };
  }

  /** Reads the authorities' file when it is first needed; one that is missing may come later. */
  async #connect(task: S3Task): Promise<Transport> {
    const { caFile } = this.#options.address;
    const opened = this.#transport ??= this.#open(caFile);
    try {
      return await opened;
    } catch (error) {
      if (this.#transport === opened) this.#transport = undefined;
      throw s3Error(task, "denied", `ca_file ${caFile} cannot be read; check its path`, error);
    }
  }
}

/**
 * What an error of the SDK means. It is passed on as no cause: it quotes what the server sent, and
 * servers send secrets back.
 */
function failure(
  error: unknown,
  { head, endpoint }: S3Exchange,
  task: S3Task,
): { answer: ErrorAnswer } | { endpoint: Endpoint } {
  if (!(error instanceof Error) || error instanceof MusicfsError) throw error;
  if (head && !isSuccess(head.status)) return { answer: errorAnswer(head, error) };
  if (head && error instanceof BrokenBodyError) {
    throw s3Error(task, "unavailable", "the server's answer broke off");
  }
  if (head) throw s3Error(task, "unavailable", "the server's answer is not one of S3");
  if (error instanceof NoAnswerError && endpoint) return { endpoint };
  if (error instanceof HeaderError) {
    throw s3Error(task, "denied", "a key or token holds a line break; check the credentials");
  }
  throw s3Error(
    task,
    "denied",
    "the SDK makes no request of it; check region, endpoint and ~/.aws/config",
  );
}

function errorAnswer(
  { status, headers }: NonNullable<S3Exchange["head"]>,
  error: Error | undefined,
): ErrorAnswer {
  const region = headers["x-amz-bucket-region"];
  const isRegion = region !== undefined && /^[a-z0-9-]{1,40}$/.test(region);
  const isElsewhere = status === 400 || (status >= 300 && status < 400);
  return {
    status,
    code: errorCodeOf(error),
    region: isElsewhere && isRegion ? region : undefined,
    serverMs: Date.parse(headers["date"] ?? ""),
  };
}

function isSuccess(status: number): boolean {
  return status === 200 || status === 206;
}

function about(error: unknown, task: S3Task): unknown {
  if (!(error instanceof MusicfsError)) return error;
  return s3Error(task, error.code, error.message);
}
