import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { OriginEntry } from "../../src/origins/origin.ts";
import { compareKeys, FolderView, readPage, type S3Page } from "../../src/origins/s3_listing.ts";
import { parseXml } from "../../src/origins/s3_xml.ts";
import { contents, listing } from "../support/fake_s3.ts";

const COMPLETE = "<IsTruncated>false</IsTruncated>";

Deno.test("parseXml() gives text and children, entities and CDATA resolved", () => {
  const xml = '\uFEFF<?xml version="1.0"?>\n<!-- x --><a b="1>2"><c>1 &lt; 2 &#233;&#x1F3B5;</c>' +
    "<d/><c x='y'><![CDATA[<&amp;]]></c></a>\n";
  assert.deepEqual(parseXml(xml), {
    name: "a",
    text: "",
    children: [
      { name: "c", text: "1 < 2 é🎵", children: [] },
      { name: "d", text: "", children: [] },
      { name: "c", text: "<&amp;", children: [] },
    ],
  });
});

Deno.test("parseXml() refuses every beginning of a document, and what is none", () => {
  const whole = listing(COMPLETE + contents("a &", 1));
  assert(parseXml(whole));
  for (let end = 0; end < whole.length; end += 1) {
    assert.equal(parseXml(whole.slice(0, end)), undefined, whole.slice(0, end));
  }
  const none = ["<a></b>", "<a/><b/>", "<a>&nbsp;</a>", "<a>& b</a>", "x<a/>", "<a b></a>"];
  const hostile = [
    "<a>&#x110000;</a>",
    "<a>&constructor;</a>",
    "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    "<a>".repeat(100_000),
    "<a ".repeat(100_000),
  ];
  for (const text of [...none, ...hostile]) assert.equal(parseXml(text), undefined, text);
});

Deno.test("parseXml() throws nothing, whatever it is given", () => {
  const piece = fc.constantFrom("<", ">", "/", "a", "&", ";", "<a>", "</a>", "<!--", "-->", "]]>");
  const text = fc.oneof(fc.string(), fc.array(piece).map((pieces) => pieces.join("")));
  fc.assert(fc.property(text, (xml) => void parseXml(xml)));
});

Deno.test("readPage() gives objects, folders and where the next page begins", () => {
  const xml = listing(
    "<Prefix>a/</Prefix><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>" +
      "<NextContinuationToken>t&amp;1=</NextContinuationToken>" +
      contents("a/\n +%é", 12) + "<CommonPrefixes><Prefix>a/b+c%2B/</Prefix></CommonPrefixes>",
  );
  assert.deepEqual(readPage(xml, "a/"), {
    page: {
      objects: [{
        key: "a/\n +%é",
        size: 12,
        mtimeNs: 1_714_979_289_123_000_000n,
        etag: "0123456789abcdef",
      }],
      prefixes: ["a/b c+/"],
      undecodable: 0,
      nextToken: "t&1=",
    },
  });
});

Deno.test("readPage() takes keys as they stand where the server does not encode them", () => {
  const xml = "<ListBucketResult><IsTruncated>false</IsTruncated><CommonPrefixes><Prefix>a+%41/" +
    "</Prefix></CommonPrefixes></ListBucketResult>";
  const result = readPage(xml, "");
  assert("page" in result);
  assert.deepEqual(result.page.prefixes, ["a+%41/"]);
});

Deno.test("readPage() counts names that are not UTF-8 and leaves them out", () => {
  const xml = listing(`${COMPLETE}<CommonPrefixes><Prefix>%FF/</Prefix></CommonPrefixes>`);
  const result = readPage(xml, "");
  assert("page" in result);
  assert.deepEqual([result.page.undecodable, result.page.prefixes], [1, []]);
});

Deno.test("readPage() refuses whatever might not be the whole answer to the question", () => {
  const song = contents("a", 1);
  const answers: Record<string, string> = {
    "": "not whole",
    "<html><body><h1>Welcome</h1></body></html>": "not a ListBucketResult",
    "<html><body><br><p>Welcome</html>": "not whole",
    '{"IsTruncated": false}': "not whole",
    [listing(COMPLETE + song).slice(0, -10)]: "not whole",
    [listing(song)]: "does not say whether it is complete",
    [listing(`<IsTruncated>maybe</IsTruncated>${song}`)]: "does not say whether",
    [listing(`<IsTruncated>true</IsTruncated>${song}`)]: "does not say how it goes on",
    [listing(`<KeyCount>2</KeyCount>${COMPLETE}${song}`)]: "announces 2 keys and names 1",
    [listing(`<KeyCount>1</KeyCount>${COMPLETE}`)]: "announces 1 keys and names 0",
    [listing(COMPLETE + "<Contents><Size>1</Size></Contents>")]: "without a name",
    [listing(COMPLETE + contents("a", "-1"))]: "sound size",
    [listing(COMPLETE + contents("a", "1e3"))]: "sound size",
    [listing(COMPLETE + contents("a", 1, { etag: "" }))]: "sound size",
    [listing(COMPLETE + contents("a", 1, { etag: "e&#13;&#10;x-header: 1" }))]: "sound size",
    [listing(COMPLETE + contents("a", 1, { time: "yesterday" }))]: "sound size",
  };
  for (const [xml, reason] of Object.entries(answers)) {
    const result = readPage(xml, "");
    assert("reason" in result && result.reason.includes(reason), `${xml}: ${reason}`);
  }
  const other = readPage(listing(COMPLETE + song), "b/");
  assert("reason" in other && other.reason.includes("not asked for"));
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
    nextToken: undefined,
  });
  entries.push(...view.finish());
  assert.deepEqual(entries.map(({ path }) => path).sort(), ["a/x", "a/y"]);
  assert.deepEqual([view.keys, view.skipped], [7, 4]);
});

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
      nextToken: undefined,
    });
  }
  return pages;
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
