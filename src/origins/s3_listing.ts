/** What a page of ListObjectsV2 says, and what it makes of a folder. Pure: no clock, no I/O. */

import type { _Object, ListObjectsV2CommandOutput } from "@aws-sdk/client-s3";
import type { OriginEntry } from "./origin.ts";

/** One object below a prefix. */
export interface S3Object {
  key: string;
  size: number;
  mtimeNs: bigint;
  /** Without its quotes. */
  etag: string;
}

/** A page of a listing, checked to be one. */
export interface S3Page {
  objects: S3Object[];
  /** Common prefixes; each ends with the delimiter. */
  prefixes: string[];
  /** Names that are not UTF-8; they are left out. */
  undecodable: number;
  /** Below the prefix, what such a name has before its last `/` that can be read, with that. */
  folders: string[];
  /** Where the next page begins; undefined on the last one. */
  nextToken: string | undefined;
}

/** What can stand between the quotes of an ETag, and be sent back in a header. */
const ETAG_TEXT = /^[!#-~]{1,512}$/;

/** A page, or why an answer is none. */
export type PageOrReason = { page: S3Page } | { reason: string };

/** Names of access points, which are not those of the buckets behind them. */
const ALIAS = /-s3alias$|--ol-s3$/;

/**
 * Reads an answer to ListObjectsV2 with `EncodingType: "url"`, which the SDK does not undo.
 *
 * An answer that leaves any doubt is refused: what a listing does not name may be deleted on its
 * word, and the SDK makes an empty listing of any XML. Keys that do not begin with `prefix` show
 * that it answers another question.
 */
export function readPage(
  answer: ListObjectsV2CommandOutput,
  { bucket, prefix }: { bucket: string; prefix: string },
): PageOrReason {
  const { Contents = [], CommonPrefixes = [] } = answer;
  const page: S3Page = {
    objects: [],
    prefixes: [],
    undecodable: 0,
    folders: [],
    nextToken: undefined,
  };
  const decode = answer.EncodingType === "url" ? urlDecoded : (text: string) => text;
  const isOther = (given: string | undefined, asked: string): boolean =>
    given !== undefined && given !== asked && decode(given) !== asked;
  if ((!ALIAS.test(bucket) && isOther(answer.Name, bucket)) || isOther(answer.Prefix, prefix)) {
    return { reason: "its listing is not the one that was asked for" };
  }
  for (const listed of [...Contents, ...CommonPrefixes]) {
    const encoded = "Key" in listed ? listed.Key : "Prefix" in listed ? listed.Prefix : undefined;
    if (typeof encoded !== "string" || encoded === "") {
      return { reason: "it lists a key without a name" };
    }
    const key = decode(encoded);
    if (key === undefined) {
      page.undecodable += 1;
      const folder = folderOfUndecodable(encoded, decode);
      if (folder.length > prefix.length && folder.startsWith(prefix)) page.folders.push(folder);
    } else if (!key.startsWith(prefix)) return { reason: "it lists keys that were not asked for" };
    else if (!("Key" in listed)) page.prefixes.push(key);
    else {
      const object = objectOf(key, listed);
      if (!object) return { reason: "it lists a key without a sound size, time or ETag" };
      page.objects.push(object);
    }
  }
  return checked(page, answer);
}

function checked(page: S3Page, answer: ListObjectsV2CommandOutput): PageOrReason {
  const { KeyCount, IsTruncated, NextContinuationToken, Contents, CommonPrefixes } = answer;
  const count = (Contents?.length ?? 0) + (CommonPrefixes?.length ?? 0);
  if (typeof IsTruncated !== "boolean") {
    return { reason: "its listing does not say whether it is complete" };
  }
  if (KeyCount !== count) {
    const announced = KeyCount === undefined ? "no number of" : KeyCount;
    return { reason: `its listing announces ${announced} keys and names ${count}` };
  }
  if (!IsTruncated) {
    // The SDK takes whatever is not "true" for false.
    if (NextContinuationToken) return { reason: "its listing is complete and goes on" };
    return { page };
  }
  page.nextToken = NextContinuationToken;
  if (page.nextToken) return { page };
  return { reason: "its listing is cut short and does not say how it goes on" };
}

function objectOf(key: string, { Size, LastModified, ETag }: _Object): S3Object | undefined {
  const ms = LastModified instanceof Date ? LastModified.getTime() : NaN;
  const etag = typeof ETag === "string" ? bareEtag(ETag) : "";
  if (Size === undefined || !Number.isSafeInteger(Size) || Size < 0) return undefined;
  if (Number.isNaN(ms) || !ETAG_TEXT.test(etag)) return undefined;
  return { key, size: Size, mtimeNs: BigInt(ms) * 1_000_000n, etag };
}

/** An ETag without its quotes: some servers list it with, some without them. */
export function bareEtag(etag: string): string {
  const strong = etag.trim().replace(/^W\//, "");
  const isQuoted = strong.length >= 2 && strong.startsWith('"') && strong.endsWith('"');
  return isQuoted ? strong.slice(1, -1) : strong;
}

/** Undoes S3's own encoding, in which a space is a plus; undefined for what is not UTF-8. */
function urlDecoded(text: string): string | undefined {
  if (!/[%+]/.test(text)) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

/** The longest part of a key that ends with a `/` and is UTF-8; "" if there is none. */
function folderOfUndecodable(
  encoded: string,
  decode: (text: string) => string | undefined,
): string {
  let folder = "";
  for (let cut = encoded.indexOf("/"); cut >= 0; cut = encoded.indexOf("/", cut + 1)) {
    const decoded = decode(encoded.slice(0, cut + 1));
    if (decoded === undefined) break;
    folder = decoded;
  }
  return folder;
}

/** A page of all keys below a prefix, as entries. */
export interface S3TreePart {
  /** As `TreePage` has them. */
  entries: OriginEntry[];
  /** Keys that cannot be names. */
  skipped: number;
  last: string;
}

/**
 * Turns a page of all keys into entries; undefined if it is not in order, or does not come after
 * the key `last`, "" for the first page: then what lies below a folder may be anywhere.
 *
 * A key that cannot be a name shows the folders on its way, as it does in their listings.
 */
export function readTree(page: S3Page, { root, last }: { root: string; last: string }):
  | S3TreePart
  | undefined {
  const part: S3TreePart = { entries: [], skipped: page.undecodable, last };
  for (const { key } of page.objects) {
    if (part.last !== "" && compareKeys(part.last, key) >= 0) return undefined;
    part.last = key;
  }
  const all: (S3Object | string)[] = page.folders.length === 0
    ? page.objects
    : [...page.objects, ...page.folders].sort((a, b) => compareKeys(keyOf(a), keyOf(b)));
  for (const one of all) {
    const path = keyOf(one).slice(root.length);
    if (path === "") continue;
    const isMarker = path.endsWith("/");
    const names = (isMarker ? path.slice(0, -1) : path).split("/");
    const bad = names.findIndex((name) => !isNameInFolder(name));
    if (bad >= 0) part.skipped += 1;
    if (bad > 0) part.entries.push(folderEntry(names.slice(0, bad).join("/")));
    if (bad >= 0) continue;
    if (isMarker || typeof one === "string") part.entries.push(folderEntry(names.join("/")));
    else part.entries.push(fileEntry(path, one));
  }
  return part;
}

/**
 * Turns the pages of one folder's listing into its entries, each name once.
 *
 * A key that is also a folder ("a" beside "a/b") is shown as the folder. Keys come in order, so an
 * object is kept back only while its folder can still follow: at most one for each byte of a key.
 */
export class FolderView {
  readonly #folder: string;
  readonly #prefix: string;
  readonly #waiting: S3Object[] = [];
  #lastPrefix: string | undefined;
  /** Keys that the folder has, its own marker and odd ones included. */
  keys = 0;
  /** Keys that cannot be names: "a//b", "../x". */
  skipped = 0;

  /** `root` is the prefix of the origin, `folder` the path below it. */
  constructor({ root, folder }: { root: string; folder: string }) {
    this.#folder = folder === "" ? "" : `${folder}/`;
    this.#prefix = root + this.#folder;
  }

  /** The entries that are sure once this page is known. */
  take({ objects, prefixes, undecodable }: S3Page): OriginEntry[] {
    this.keys += objects.length + prefixes.length + undecodable;
    this.skipped += undecodable;
    const entries: OriginEntry[] = [];
    const names: (S3Object | string)[] = [...objects, ...prefixes];
    names.sort((a, b) => compareKeys(keyOf(a), keyOf(b)));
    for (const name of names) {
      this.#settle(entries, keyOf(name));
      if (typeof name !== "string") this.#takeObject(name);
      else this.#takePrefix(name, entries);
    }
    return entries;
  }

  /** The entries that no later page can change any more. */
  finish(): OriginEntry[] {
    const entries: OriginEntry[] = [];
    this.#settle(entries, undefined);
    return entries;
  }

  #takeObject(object: S3Object): void {
    if (object.key === this.#prefix) return;
    if (!isNameInFolder(object.key.slice(this.#prefix.length))) this.skipped += 1;
    else this.#waiting.push(object);
  }

  #takePrefix(prefix: string, entries: OriginEntry[]): void {
    if (prefix === this.#lastPrefix) return;
    this.#lastPrefix = prefix;
    const name = prefix.slice(this.#prefix.length, -1);
    if (!isNameInFolder(name)) this.skipped += 1;
    else entries.push(folderEntry(this.#folder + name));
  }

  /** Gives out the objects whose folder can no longer come, now that `key` has. */
  #settle(entries: OriginEntry[], key: string | undefined): void {
    for (let last = this.#waiting.at(-1); last; last = this.#waiting.at(-1)) {
      const folder = `${last.key}/`;
      if (key !== undefined && key.startsWith(last.key) && compareKeys(key, folder) < 0) return;
      this.#waiting.pop();
      if (key !== folder) entries.push(this.#fileEntry(last));
    }
  }

  #fileEntry(object: S3Object): OriginEntry {
    return fileEntry(this.#folder + object.key.slice(this.#prefix.length), object);
  }
}

export function folderEntry(path: string): OriginEntry {
  return { path, kind: "folder", size: 0, mtimeNs: 0n, version: "", target: "" };
}

export function fileEntry(path: string, { size, mtimeNs, etag }: S3Object): OriginEntry {
  return { path, kind: "file", size, mtimeNs, version: etag, target: "" };
}

/** Whether this is one name, which cannot lead anywhere else. */
export function isNameInFolder(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !name.includes("/") &&
    !name.includes("\0");
}

/** The order of S3: that of the UTF-8 bytes, which surrogates make another than JavaScript's. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** UTF-16 units in the order of the code points they begin: surrogates stand behind all others. */
function rank(unit: number): number {
  return (unit & 0xf800) === 0xd800 ? unit + 0x10000 : unit;
}

function keyOf(name: S3Object | string): string {
  return typeof name === "string" ? name : name.key;
}
