import type { ByteRange } from "../base/bytes.ts";
import type { Log } from "../base/log.ts";
import type { OpenOptions, OriginAddress } from "./open.ts";
import type {
  CallOptions,
  Origin,
  OriginEntry,
  OriginFile,
  TreeCursor,
  TreePage,
} from "./origin.ts";
import { PartialRead } from "./partial_read.ts";
import { type S3Answer, S3Client } from "./s3_client.ts";
import { s3Error, type S3Task } from "./s3_errors.ts";
import {
  bareEtag,
  fileEntry,
  folderEntry,
  FolderView,
  isNameInFolder,
  readPage,
  readTree,
  type S3Page,
} from "./s3_listing.ts";
import { parseS3Url } from "./s3_url.ts";

/** Most keys of a page; a server may give fewer. Source: ListObjectsV2. */
const PAGE_KEYS_MAX = 1_000;

/** Keys that are looked at to describe one name: it is the first, its folder seldom far behind. */
const STAT_KEYS_MAX = 10;

/** Empty pages in a row after which a listing is taken to lead nowhere. */
const EMPTY_PAGES_MAX = 1_000;

/** What an S3 origin is made of. */
export interface S3OriginParts {
  client: S3Client;
  bucket: string;
  /** What all its keys begin with, "" or with a `/` at its end. */
  prefix: string;
  log: Log;
}

/**
 * A bucket, or what lies below a prefix in it.
 *
 * Needs no more than s3:ListBucket and s3:GetObject. A file's version is its ETag. Folders are what
 * stands before a `/` in a key; they have no time.
 */
export class S3Origin implements Origin, AsyncDisposable {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #log: Log;
  /** Whether keys that cannot be names were logged since the root was last listed. */
  #told = false;
  /** Whether the server lists keys in the order of their bytes, as S3 does. */
  #isOrdered = true;

  constructor(readonly name: string, { client, bucket, prefix, log }: S3OriginParts) {
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.#log = log;
  }

  /** Connects nothing. Throws `invalid` for a URL that cannot be used. */
  static open({ name, url }: OriginAddress, { log, clock, env }: OpenOptions): S3Origin {
    const endpoint = env("AWS_ENDPOINT_URL_S3") || env("AWS_ENDPOINT_URL") || undefined;
    const address = parseS3Url(url, { endpoint });
    const { bucket, prefix } = address;
    return new S3Origin(name, {
      client: new S3Client({ address, env, clock }),
      bucket,
      prefix,
      log,
    });
  }

  async *list(folder: string, options: CallOptions): AsyncIterable<OriginEntry> {
    options.signal.throwIfAborted();
    const task = this.#task("s3.list", folder);
    const prefix = folder === "" ? this.#prefix : `${this.#keyOf(folder, task)}/`;
    const view = new FolderView({ root: this.#prefix, folder });
    for await (const page of this.#pages(prefix, { ...options, task, keysMax: PAGE_KEYS_MAX })) {
      yield* view.take(page);
    }
    yield* view.finish();
    if (folder !== "" && view.keys === 0) throw await this.#whyNoFolder(folder, task, options);
    this.#tell(folder, view.skipped);
  }

  async listTree(cursor: TreeCursor | undefined, options: CallOptions): Promise<TreePage> {
    options.signal.throwIfAborted();
    const task = this.#task("s3.list", "");
    const { token, last } = cursor ?? { token: undefined, last: "" };
    const asked = { ...options, task, keysMax: PAGE_KEYS_MAX, isFlat: true };
    const page = this.#isOrdered ? await this.#page(this.#prefix, token, asked) : undefined;
    const part = page && readTree(page, { root: this.#prefix, last });
    if (!page || !part || page.prefixes.length > 0) {
      this.#isOrdered = false;
      throw s3Error(task, "invalid", "its keys do not come in the order of their bytes");
    }
    const { nextToken } = page;
    if (nextToken !== undefined && nextToken === token) {
      throw s3Error(task, "unavailable", "its listing does not get on");
    }
    if (cursor === undefined) this.#told = false;
    this.#tell("everywhere", part.skipped);
    const next = nextToken === undefined ? undefined : { token: nextToken, last: part.last };
    return { entries: part.entries, next };
  }

  async stat(path: string, options: CallOptions): Promise<OriginEntry> {
    options.signal.throwIfAborted();
    const task = this.#task("s3.stat", path);
    const key = this.#keyOf(path, task);
    if (path === "") {
      await this.#page(this.#prefix, undefined, { ...options, task, keysMax: 1 });
      return folderEntry("");
    }
    const page = await this.#firstKeys(key, { ...options, task, keysMax: STAT_KEYS_MAX });
    const isFolder = page.prefixes.includes(`${key}/`) ||
      // Many other names may stand before the folder: "a-1", "a.jpg", "a/".
      page.nextToken !== undefined &&
        hasKeys(await this.#firstKeys(`${key}/`, { ...options, task, keysMax: 1 }));
    if (isFolder) return folderEntry(path);
    const object = page.objects.find((found) => found.key === key);
    if (object) return fileEntry(path, object);
    throw s3Error(task, "not_found", "it does not exist");
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    { signal, onProgress }: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    signal.throwIfAborted();
    const task = this.#task("s3.read", file.path);
    const key = this.#keyOf(file.path, task);
    const { offset, length } = range;
    if (offset < 0 || length < 0 || offset + length > file.size) {
      const bytes = `bytes ${offset} to ${offset + length}`;
      throw s3Error(task, "invalid", `${bytes} are not in its ${file.size} bytes`);
    }
    if (length === 0) return new Uint8Array(0);
    const request = { key, range, version: file.version };
    return await this.#client.read(request, { task, signal, onProgress }, (answer) => {
      checkAnswer(answer, { file, range, task });
      return readBody(answer.body, { length, task, onProgress });
    });
  }

  /** Closes its connections; calls under way fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }

  /** The first page that names anything, or the last one. */
  async #firstKeys(prefix: string, options: PageOptions): Promise<S3Page> {
    for await (const page of this.#pages(prefix, options)) {
      if (hasKeys(page) || page.nextToken === undefined) return page;
    }
    throw s3Error(options.task, "unavailable", "its listing has no pages");
  }

  /** The pages of a listing, the next one asked for when the one before was taken. */
  async *#pages(prefix: string, options: PageOptions): AsyncIterable<S3Page> {
    const progress = new PageProgress();
    let token: string | undefined;
    do {
      const page = await this.#page(prefix, token, options);
      const loop = progress.note(page);
      if (loop !== undefined) throw s3Error(options.task, "unavailable", loop);
      yield page;
      token = page.nextToken;
    } while (token !== undefined);
  }

  async #page(prefix: string, token: string | undefined, options: PageOptions): Promise<S3Page> {
    const { task, keysMax, isFlat = false } = options;
    const answer = await this.#client.list({ prefix, token, keysMax, isFlat }, options);
    const result = readPage(answer, { bucket: this.#bucket, prefix });
    if ("page" in result) return result.page;
    throw s3Error(task, "unavailable", result.reason);
  }

  /** Tells a folder that is missing from a file. */
  async #whyNoFolder(folder: string, task: S3Task, options: CallOptions): Promise<Error> {
    const key = this.#keyOf(folder, task);
    const page = await this.#firstKeys(key, { ...options, task, keysMax: 1 });
    return page.objects.some((object) => object.key === key)
      ? s3Error(task, "invalid", "it is not a folder")
      : s3Error(task, "not_found", "it does not exist");
  }

  #keyOf(path: string, task: S3Task): string {
    if (path === "" || path.split("/").every(isNameInFolder)) return this.#prefix + path;
    throw s3Error(task, "invalid", "it is no path below the origin");
  }

  #task(op: string, path: string): S3Task {
    return { op, path, origin: this.name };
  }

  #tell(folder: string, skipped: number): void {
    if (folder === "") this.#told = false;
    if (skipped === 0 || this.#told) return;
    this.#told = true;
    const fields = { origin: this.name, folder, keys: skipped };
    this.#log.warning("Skipped keys that cannot be names; rename them at the origin", fields);
  }
}

/** How pages are asked for. */
interface PageOptions extends CallOptions {
  task: S3Task;
  keysMax: number;
  isFlat?: boolean;
}

/** Sees that a listing gets on: servers have been known to answer with the same page for ever. */
class PageProgress {
  readonly #tokens = new Set<string>();
  #first: string | undefined;
  #empty = 0;

  /** Why this page leads nowhere, or undefined if it does. */
  note(page: S3Page): string | undefined {
    const { nextToken: token } = page;
    const first = page.objects[0]?.key ?? page.prefixes[0];
    const isSame = first !== undefined && first === this.#first && page.objects.length > 0;
    this.#first = first;
    this.#empty = first === undefined ? this.#empty + 1 : 0;
    if (isSame || (token !== undefined && this.#tokens.has(token))) {
      return "its listing does not get on: the same page came twice";
    }
    if (this.#empty > EMPTY_PAGES_MAX) return "its listing does not get on: all pages are empty";
    if (token !== undefined) this.#tokens.add(token);
    return undefined;
  }
}

function hasKeys({ objects, prefixes }: S3Page): boolean {
  return objects.length > 0 || prefixes.length > 0;
}

/** Throws unless the answer is for these bytes of this version. */
function checkAnswer(
  answer: S3Answer,
  { file, range, task }: { file: OriginFile; range: ByteRange; task: S3Task },
): void {
  const { status, headers } = answer;
  const { offset, length } = range;
  const etag = headers["etag"];
  if (etag === undefined) throw s3Error(task, "unavailable", "the server's answer has no ETag");
  if (bareEtag(etag) !== file.version) {
    throw s3Error(task, "changed", "it is not the version that was indexed");
  }
  if (status === 206) {
    const found = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers["content-range"] ?? "");
    const [, first, last, size] = found ?? [];
    if (Number(first) !== offset || Number(last) !== offset + length - 1) {
      throw s3Error(task, "unavailable", "the server answered with other bytes than asked for");
    }
    if (size !== "*" && Number(size) !== file.size) {
      throw s3Error(task, "changed", `it has ${size} bytes now instead of ${file.size}`);
    }
  } else if (offset !== 0 || length !== file.size) {
    throw s3Error(
      task,
      "unavailable",
      "the server answered with the whole file; it knows no ranges",
    );
  }
  const announced = headers["content-length"];
  if (announced !== undefined && Number(announced) !== length) {
    throw s3Error(
      task,
      "unavailable",
      `the server announced ${Number(announced)} bytes instead of ${length}`,
    );
  }
}

async function readBody(
  body: ReadableStream<Uint8Array>,
  { length, task, onProgress }: {
    length: number;
    task: S3Task;
    onProgress: (() => void) | undefined;
  },
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  const received = await readInto(bytes, body, onProgress);
  if (received === length) return bytes;
  if (received > length) {
    throw s3Error(task, "unavailable", "the server sent more bytes than asked for");
  }
  const { message } = s3Error(
    task,
    "unavailable",
    `the server's answer broke off after ${received} of ${length} bytes`,
  );
  const context = { op: task.op, subject: task.path };
  if (received === 0) throw s3Error(task, "unavailable", "the server's answer broke off at once");
  throw new PartialRead(message, { ...context, received: bytes.slice(0, received) });
}

/**
 * Fills `into` with the body. A body that breaks off, or is ended by its signal, is short.
 *
 * @returns bytes that came; more than `into` holds if there were more
 */
async function readInto(
  into: Uint8Array<ArrayBuffer>,
  body: ReadableStream<Uint8Array>,
  onProgress: (() => void) | undefined,
): Promise<number> {
  const reader = body.getReader();
  const next = (): Promise<Uint8Array | undefined> =>
    reader.read().then(({ value }) => value, () => undefined);
  let at = 0;
  for (let piece = await next(); piece; piece = await next()) {
    onProgress?.();
    if (at + piece.length > into.length) return at + piece.length;
    into.set(piece, at);
    at += piece.length;
  }
  return at;
}
