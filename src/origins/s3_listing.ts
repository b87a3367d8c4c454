/** What a page of ListObjectsV2 says, and what it makes of a folder. Pure: no clock, no I/O. */

import type { OriginEntry } from "./origin.ts";
import { parseXml, textOf, type XmlElement } from "./s3_xml.ts";

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
  /** Where the next page begins; undefined on the last one. */
  nextToken: string | undefined;
}

/** What can stand between the quotes of an ETag, and be sent back in a header. */
const ETAG = /^[!#-~]{1,512}$/;

/** A page, or why an answer is none. */
export type PageOrReason = { page: S3Page } | { reason: string };

/**
 * Reads an answer to ListObjectsV2 with `encoding-type=url`.
 *
 * An answer that leaves any doubt is refused: what a listing does not name may be deleted on its
 * word. Keys that do not begin with `prefix` show that it answers another question.
 */
export function readPage(xml: string, prefix: string): PageOrReason {
  const root = parseXml(xml);
  if (!root) return { reason: "its answer is not whole, well-formed XML" };
  if (root.name !== "ListBucketResult") return { reason: "its answer is not a ListBucketResult" };
  const page: S3Page = { objects: [], prefixes: [], undecodable: 0, nextToken: undefined };
  const decode = textOf(root, "EncodingType") === "url" ? urlDecoded : (text: string) => text;
  let count = 0;
  for (const child of root.children) {
    const isObject = child.name === "Contents";
    if (!isObject && child.name !== "CommonPrefixes") continue;
    count += 1;
    const encoded = textOf(child, isObject ? "Key" : "Prefix");
    if (encoded === undefined || encoded === "") return { reason: "it lists a key without a name" };
    const key = decode(encoded);
    if (key === undefined) page.undecodable += 1;
    else if (!key.startsWith(prefix)) return { reason: "it lists keys that were not asked for" };
    else if (!isObject) page.prefixes.push(key);
    else {
      const object = objectOf(child, key);
      if (!object) return { reason: "it lists a key without a sound size, time or ETag" };
      page.objects.push(object);
    }
  }
  return checked(page, { root, count });
}

function checked(page: S3Page, { root, count }: { root: XmlElement; count: number }): PageOrReason {
  const keyCount = textOf(root, "KeyCount");
  if (keyCount !== undefined && keyCount.trim() !== String(count)) {
    return { reason: `its listing announces ${keyCount.slice(0, 20)} keys and names ${count}` };
  }
  const truncated = textOf(root, "IsTruncated")?.trim();
  if (truncated === "false") return { page };
  if (truncated !== "true") return { reason: "its listing does not say whether it is complete" };
  page.nextToken = textOf(root, "NextContinuationToken");
  if (page.nextToken) return { page };
  return { reason: "its listing is cut short and does not say how it goes on" };
}

function objectOf(element: XmlElement, key: string): S3Object | undefined {
  const size = textOf(element, "Size")?.trim() ?? "";
  const time = textOf(element, "LastModified")?.trim() ?? "";
  const etag = bareEtag(textOf(element, "ETag") ?? "");
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/.test(time) ? Date.parse(time) : NaN;
  if (!/^\d{1,15}$/.test(size) || Number.isNaN(ms) || !ETAG.test(etag)) return undefined;
  return { key, size: Number(size), mtimeNs: BigInt(ms) * 1_000_000n, etag };
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
