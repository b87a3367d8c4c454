import { ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { OriginEntry } from "../../src/origins/origin.ts";
import {
  compareKeys,
  FolderView,
  type PageOrReason,
  readPage,
  type S3Page,
} from "../../src/origins/s3_listing.ts";
import { contents, listing } from "../support/fake_s3.ts";

/** How the page of one key begins. */
const ONE = "<KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>";

Deno.test("readPage() gives objects, folders and where the next page begins", async () => {
  const xml = listing(
    "<Prefix>a/</Prefix><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>" +
      "<NextContinuationToken>t&amp;1=</NextContinuationToken>" +
      contents("a/\n +%é", 12) + "<CommonPrefixes><Prefix>a/b+c%2B/</Prefix></CommonPrefixes>",
  );
  assert.deepEqual(await read(xml, "a/"), {
    page: {
      objects: [{
        key: "a/\n +%é",
        size: 12,
        mtimeNs: 1_714_979_289_123_000_000n,
        etag: "0123456789abcdef",
      }],
      prefixes: ["a/b c+/"],
      undecodable: 0,
      folders: [],
      nextToken: "t&1=",
    },
  });
});

Deno.test("readPage() takes keys as they stand where the server does not encode them", async () => {
  const xml = "<ListBucketResult><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>" +
    "<CommonPrefixes><Prefix>a+%41/</Prefix></CommonPrefixes></ListBucketResult>";
  const result = await read(xml, "");
  assert("page" in result);
  assert.deepEqual(result.page.prefixes, ["a+%41/"]);
});

Deno.test("readPage() counts names that are not UTF-8 and leaves them out", async () => {
  const xml = listing(`${ONE}<CommonPrefixes><Prefix>%FF/</Prefix></CommonPrefixes>`);
  const result = await read(xml, "");
  assert("page" in result);
  assert.deepEqual([result.page.undecodable, result.page.prefixes], [1, []]);
});

Deno.test("readPage() refuses whatever might not be the whole answer to the question", async () => {
  const song = contents("a", 1);
  const token = "<NextContinuationToken>t</NextContinuationToken>";
  const answers: Record<string, string> = {
    "": "does not say whether it is complete",
    "<html><body><h1>Welcome</h1></body></html>": "does not say whether it is complete",
    [listing(song)]: "does not say whether it is complete",
    [listing(`<KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>${song}`)]: "how it goes on",
    [listing(ONE.replace("false", "maybe") + token + song)]: "complete and goes on",
    [listing(`<IsTruncated>false</IsTruncated>${song}`)]: "announces no number of keys",
    [listing(ONE.replace("1", "2") + song)]: "announces 2 keys and names 1",
    [listing(ONE.replace("1", "one") + song)]: "announces NaN keys and names 1",
    [listing(ONE)]: "announces 1 keys and names 0",
    [listing(ONE + "<Contents><Size>1</Size></Contents>")]: "without a name",
    [listing(`${ONE}<CommonPrefixes/>`)]: "without a name",
    [listing(ONE + contents("a", "-1"))]: "sound size",
    [listing(ONE + contents("a", "1.5"))]: "sound size",
    [listing(ONE + contents("a", "1e30"))]: "sound size",
    [listing(ONE + contents("a", "x"))]: "sound size",
    [listing(ONE + contents("a", 1).replace(/<Size>.*<.Size>/, ""))]: "sound size",
    [listing(ONE + contents("a", 1).replace(/<LastModified>.*<.LastModified>/, ""))]: "sound size",
    [listing(ONE + contents("a", 1, { etag: "" }))]: "sound size",
    [listing(ONE + contents("a", 1, { etag: "e&#13;&#10;x-header: 1" }))]: "sound size",
    [listing(`<Prefix>b</Prefix>${ONE}${song}`)]: "not the one that was asked for",
    [listing(ONE + song).replace("music", "other")]: "not the one that was asked for",
  };
  for (const [xml, reason] of Object.entries(answers)) {
    const result = await read(xml, "");
    assert("reason" in result && result.reason.includes(reason), `${xml}: ${reason}`);
  }
  const other = await read(listing(ONE + song), "b/");
  assert("reason" in other && other.reason.includes("not asked for"));
  assert("page" in await read(listing(ONE + song), ""));
});

Deno.test("readPage() is never given a listing that is cut short, whatever its server makes of it", async () => {
  const whole = listing(
    ONE.replace("1", "2") + contents("a &", 123) +
      "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>",
  );
  assert("page" in await read(whole, ""));
  for (let end = 0; end < whole.length; end += 1) {
    const cut = await read(whole.slice(0, end), "").catch(() => undefined);
    assert(cut === undefined || "reason" in cut, whole.slice(0, end));
  }
  const hostile = ["<a></b>", "<a>".repeat(100_000), "<a ".repeat(100_000), "x<a/>"];
  for (const xml of [...hostile, listing(ONE + contents("a", 1, { time: "yesterday" }))]) {
    await assert.rejects(read(xml, ""));
  }
});

Deno.test("compareKeys() orders as the UTF-8 bytes do", () => {
  const text = fc.string({ unit: "grapheme" });
  fc.assert(fc.property(text, text, (a, b) => {
    assert.equal(Math.sign(compareKeys(a, b)), Math.sign(byBytes(a, b)));
  }));
  assert(compareKeys("\uFFFD", "\u{1F3B5}") < 0);
});

Deno.test("FolderView shows every name once, however the pages are cut", () => {
  const key = fc.array(fc.constantFrom("a", "-", "/", " ", "é", "\uFFFD", "\u{1F3B5}", ".", "b"), {
    minLength: 1,
    maxLength: 5,
  }).map((units) => units.join(""));
  const keys = fc.uniqueArray(key, { maxLength: 40 });
  fc.assert(fc.property(keys, fc.integer({ min: 1, max: 5 }), (keys, pageKeys) => {
    const view = new FolderView({ root: "root/", folder: "f" });
    const entries: OriginEntry[] = [];
    const pages = pagesOf(keys.map((name) => `root/f/${name}`), { prefix: "root/f/", pageKeys });
    for (const page of pages) entries.push(...view.take(page));
    entries.push(...view.finish());
    const expected = new Map<string, string>();
    for (const name of keys) {
      const [first = "", ...rest] = name.split("/");
      if (first === "" || first === "." || first === "..") continue;
      if (rest.length > 0) expected.set(`f/${first}`, "folder");
      else if (!expected.has(`f/${first}`)) expected.set(`f/${first}`, "file");
    }
    assert.deepEqual(
      entries.map(({ path, kind }) => [path, kind]).sort(),
      [...expected].sort(),
    );
  }));
});

Deno.test("FolderView leaves out the folder's own marker and keys that cannot be names", () => {
  const view = new FolderView({ root: "", folder: "a" });
  const object = (key: string): S3Page["objects"][number] => ({
    key,
    size: 0,
    mtimeNs: 0n,
    etag: "e",
  });
  const entries = view.take({
    objects: [object("a/"), object("a/.."), object("a/x")],
    prefixes: ["a//", "a/./", "a/y/"],
    undecodable: 1,
    folders: [],
    nextToken: undefined,
  });
  entries.push(...view.finish());
  assert.deepEqual(entries.map(({ path }) => path).sort(), ["a/x", "a/y"]);
  assert.deepEqual([view.keys, view.skipped], [7, 4]);
});

/** What becomes of an answer to ListObjectsV2 that the SDK has read. */
async function read(xml: string, prefix: string): Promise<PageOrReason> {
  const response = { statusCode: 200, headers: {}, body: new Blob([xml]).stream() };
  const sdk = new S3Client({
    region: "us-east-1",
    maxAttempts: 1,
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
    requestHandler: { handle: () => Promise.resolve({ response }) },
  });
  const answer = await sdk.send(new ListObjectsV2Command({ Bucket: "music" }));
  return readPage(answer, { bucket: "music", prefix });
}

/** What a server makes of these keys with the delimiter "/". */
function pagesOf(
  keys: string[],
  { prefix, pageKeys }: { prefix: string; pageKeys: number },
): S3Page[] {
  const names = new Set(keys.map((key) => {
    const cut = key.indexOf("/", prefix.length);
    return cut < 0 ? key : key.slice(0, cut + 1);
  }));
  const sorted = [...names].sort(byBytes);
  const pages: S3Page[] = [];
  for (let at = 0; at < sorted.length; at += pageKeys) {
    const page = sorted.slice(at, at + pageKeys);
    const isObject = (name: string): boolean => name.indexOf("/", prefix.length) < 0;
    pages.push({
      objects: page.filter(isObject).map((key) => ({ key, size: 1, mtimeNs: 0n, etag: "e" })),
      prefixes: page.filter((name) => !isObject(name)),
      undecodable: 0,
      folders: [],
      nextToken: undefined,
    });
  }
  return pages;
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
