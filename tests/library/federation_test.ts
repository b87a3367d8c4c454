import fc from "fast-check";
import assert from "node:assert/strict";
import type { EntrySource } from "../../src/library/entry.ts";
import { compareContents, judge, merged } from "../../src/library/federation.ts";
import { Namespace } from "../../src/library/namespace.ts";
import { NamespaceEdit } from "../../src/library/namespace_edit.ts";
import { nodeIdOf, ROOT_ID } from "../../src/library/node_id.ts";
import { originKey } from "../../src/library/keys.ts";
import { MemoryIndex } from "../support/memory_index.ts";

const MD5_A = "0123456789abcdef0123456789abcdef";
const MD5_B = "fedcba9876543210fedcba9876543210";

function file(origin: number, more: Partial<EntrySource> = {}): EntrySource {
  return {
    origin,
    kind: "file",
    size: 100,
    mtimeNs: 1n,
    version: "v",
    target: "",
    listed: false,
    lastScan: 0,
    ...more,
  };
}

function folder(origin: number, mtimeNs: bigint): EntrySource {
  return file(origin, { kind: "folder", size: 0, version: "", mtimeNs });
}

Deno.test("compareContents() takes equal MD5 ETags or equal probes for proof, and nothing else", () => {
  const probe = (text: string): Uint8Array => new TextEncoder().encode(text);
  const table: [Partial<EntrySource>, Partial<EntrySource>, string[] | undefined, string][] = [
    [{}, {}, undefined, "unknown"],
    [{}, {}, ["x", "x"], "equal"],
    [{}, {}, ["x", "y"], "different"],
    [{}, {}, ["x", "xx"], "unknown"],
    [{}, { size: 101 }, ["x", "x"], "different"],
    [{ size: 0 }, { size: 0 }, undefined, "equal"],
    [{ version: MD5_A }, { version: MD5_A }, undefined, "equal"],
    [{ version: MD5_A }, { version: `"${MD5_A.toUpperCase()}"` }, undefined, "equal"],
    [{ version: MD5_A }, { version: MD5_B }, ["x", "x"], "different"],
    [{ version: MD5_A }, { version: MD5_A, size: 7 }, undefined, "different"],
    [{ version: `${MD5_A}-3` }, { version: `${MD5_A}-3` }, undefined, "unknown"],
    [{ version: MD5_A }, { version: "100-1" }, undefined, "unknown"],
    [{ version: MD5_A }, { version: "100-1" }, ["x", "x"], "equal"],
    [{ kind: "symlink", target: "a" }, { kind: "symlink", target: "a" }, ["x", "x"], "different"],
  ];
  for (const [a, b, probes, verdict] of table) {
    const [first, second] = [file(1, a), file(2, b)];
    const probeOf = ({ origin }: EntrySource): Uint8Array | undefined => {
      const text = probes?.[origin - 1];
      return text === undefined ? undefined : probe(text);
    };
    assert.equal(compareContents(first, second, probeOf), verdict, JSON.stringify([a, b, probes]));
    assert.equal(compareContents(second, first, probeOf), verdict);
  }
});

Deno.test("judge() takes back a proof that no longer holds, and says what is open", () => {
  const sources = [file(1), file(2, { isProven: true }), file(3, { size: 5, isProven: true })];
  const { sources: judged, isOpen } = judge(sources, () => undefined);
  assert.deepEqual(judged, [file(1), file(2), file(3, { size: 5 })]);
  assert.equal(isOpen, true);
  assert.equal(judge([file(1), file(2, { size: 5 })], () => undefined).isOpen, false);
});

Deno.test("merged() shows one origin's own folder time, and never goes back with several", () => {
  assert.equal(merged([folder(1, 5n)], 9n).mtimeNs, 5n);
  assert.equal(merged([folder(1, 0n)], 9n).mtimeNs, 9n);
  assert.equal(merged([folder(1, 5n), folder(2, 0n)], 9n).mtimeNs, 9n);
  assert.equal(merged([folder(1, 5n), folder(2, 11n)], 9n).mtimeNs, 11n);
});

/** What an origin holds: the same content has the same size and, in a bucket, the same ETag. */
interface Held {
  origin: number;
  content: number;
  /** Which of the versions that have this content. */
  touch: number;
}

/** Contents 0 to 3 have one size, the others another; odd origins are buckets, with ETags. */
function sourceOf({ origin, content, touch }: Held): EntrySource {
  const size = content < 4 ? 100 : 200;
  const etag = String(content).repeat(32);
  const version = origin % 2 === 1 ? etag : `${origin}.${content}.${touch}`;
  return file(origin, { size, version, mtimeNs: BigInt(touch) });
}

const held = fc.record({
  origin: fc.integer({ min: 1, max: 4 }),
  content: fc.nat(5),
  touch: fc.nat(1),
});
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ put: held }) },
  { weight: 1, arbitrary: fc.record({ drop: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 3, arbitrary: fc.record({ probe: held }) },
  {
    weight: 1,
    arbitrary: fc.record({ order: fc.shuffledSubarray([1, 2, 3, 4], { minLength: 4 }) }),
  },
  { weight: 1, arbitrary: fc.constant({ renew: true as const }) },
);

Deno.test("A node id never stands for bytes of two contents, whatever its sources and probes", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
      const index = new MemoryIndex();
      index.transaction(() => {
        for (const number of [1, 2, 3, 4]) {
          index.table("origins").put(originKey(number), new TextEncoder().encode(String(number)));
        }
      });
      const namespace = new Namespace(index);
      const contentOf = new Map<string, number>();
      const contents = new Map<number, number>();
      let order = [1, 2, 3, 4];
      const edit = (change: (edit: NamespaceEdit) => void): void =>
        void NamespaceEdit.run({ index, namespace, nowMs: 1 }, change);
      const nodes = new Set<number>();
      for (const now of steps) {
        edit((edit) => {
          const old = namespace.child(ROOT_ID, "song");
          if ("probe" in now) {
            if (!old) return;
            const source = sourceOf(now.probe);
            return edit.probed(old.id, { source, hash: Uint8Array.of(now.probe.content) });
          }
          if ("renew" in now) {
            if (old) edit.renew(old);
            return;
          }
          if ("order" in now) order = now.order;
          let sources = old?.sources ?? [];
          if ("drop" in now) sources = sources.filter(({ origin }) => origin !== now.drop);
          if ("put" in now) {
            const source = sourceOf(now.put);
            contentOf.set(`${source.origin}:${source.version}`, now.put.content);
            sources = [...sources.filter(({ origin }) => origin !== source.origin), source];
          }
          sources = sources.toSorted((a, b) => order.indexOf(a.origin) - order.indexOf(b.origin));
          if (old) edit.setSources(old, sources);
          else if (sources.length > 0) edit.insert(ROOT_ID, "song", { sources, quiet: false });
        });
        const song = namespace.child(ROOT_ID, "song");
        if (song) nodes.add(nodeIdOf(song.id, song.sequence));
        for (const node of nodes) {
          const version = namespace.version(node);
          if (!version) continue;
          for (const { origin, version: text } of version.sources) {
            const content = contentOf.get(`${origin}:${text}`) ?? -1;
            const before = contents.get(node) ?? content;
            assert.equal(content, before, `node ${node} reads ${origin}:${text}`);
            contents.set(node, content);
          }
        }
        if (!song) continue;
        assert.equal(song.size, song.sources[0]?.size);
        assert.equal(song.mtimeNs, song.sources[0]?.mtimeNs);
      }
    }),
    { numRuns: 400 },
  );
});
