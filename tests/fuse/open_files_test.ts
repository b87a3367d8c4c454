import assert from "node:assert/strict";
import {
  type DirectFile,
  type FileCounters,
  type HandleLedger,
  OpenFiles,
  type OpenNote,
} from "../../src/fuse/open_files.ts";
import { OPEN_FLAG, type RequestId } from "../../src/fuse/protocol.ts";
import { DEFERRED } from "../../src/fuse/reply.ts";
import { Namespace } from "../../src/library/namespace.ts";
import { NamespaceEdit } from "../../src/library/namespace_edit.ts";
import { nodeIdOf, ROOT_ID } from "../../src/library/node_id.ts";
import { MemoryIndex } from "../support/memory_index.ts";

/** What the parts around `OpenFiles` were asked to do, in order. */
type Deed = string;

interface Fixture {
  namespace: Namespace;
  node: number;
  deeds: Deed[];
  counters: FileCounters;
  ledger: Map<number, OpenNote>;
  /** Answers `DirectOpener.open`. */
  direct: { answer: "cached" | "deferred" | "pread" | "passthrough" };
  /** Another daemon's, over what the ledger has now. */
  next(nonce: number): OpenFiles;
}

function fixture(): Fixture {
  const index = new MemoryIndex();
  const namespace = new Namespace(index);
  let node = 0;
  NamespaceEdit.run({ index, namespace, nowMs: 1 }, (edit) => {
    const sources = [{
      origin: 1,
      kind: "file" as const,
      size: 1000,
      mtimeNs: 5n,
      version: "1000-5",
      target: "",
      listed: false,
      lastScan: 1,
    }];
    node = nodeIdOf(edit.insert(ROOT_ID, "song.flac", { sources, quiet: true }).id, 1);
  });
  const deeds: Deed[] = [];
  const counters = { handles: 0, cacheBytes: 0, directBytes: 0 };
  const ledger = new Map<number, OpenNote>();
  const direct: Fixture["direct"] = { answer: "cached" };
  let backingId = 0;
  const open = (
    _version: number,
    { mayPassThrough }: { mayPassThrough: boolean },
  ): DirectFile | "cached" | "deferred" => {
    deeds.push(`open ${direct.answer}${mayPassThrough ? "" : ", not passed through"}`);
    if (direct.answer === "cached" || direct.answer === "deferred") return direct.answer;
    const passes = direct.answer === "passthrough" && mayPassThrough;
    backingId += passes ? 1 : 0;
    return {
      backingId: passes ? backingId : 0,
      read: (_offset, into) => into.length,
      close: () => deeds.push("close"),
    };
  };
  const next = (nonce: number): OpenFiles => {
    const notes: HandleLedger = {
      inherited: [...ledger.values()],
      put: (note) => ledger.set(note.node, note) === ledger,
    };
    return new OpenFiles({
      namespace,
      reader: { read: () => -1 },
      direct: { open, closeBacking: (id) => deeds.push(`close backing ${id}`) },
      observer: {
        opened: () => deeds.push("tell opened"),
        released: (_node, handle) => deeds.push(`tell released ${handle % 2 ** 32}`),
      },
      counters,
      ledger: notes,
      nonce,
    });
  };
  return { namespace, node, deeds, counters, ledger, direct, next };
}

let unique = 2;

/** A request that never came before. */
function fresh(): RequestId {
  unique += 2;
  return { unique, isResent: false };
}

function opened(
  files: OpenFiles,
  node: number,
  request = fresh(),
): { handle: number; flags: number } {
  const answer = files.open(node, request);
  assert(typeof answer === "object");
  return answer;
}

Deno.test("OpenFiles opens a node as it is open already, though its bytes come from elsewhere by now", () => {
  const { node, direct, next } = fixture();
  const files = next(1);
  const first = opened(files, node);
  direct.answer = "passthrough";
  const second = opened(files, node);
  assert.equal(second.flags, first.flags);
  for (const { handle } of [first, second]) files.release(node, handle, fresh());
  const { flags } = opened(files, node);
  assert((flags & OPEN_FLAG.PASSTHROUGH) !== 0, "once all are closed");
});

Deno.test("OpenFiles opens what a predecessor passed through with the same backing id, without a look at the disk", () => {
  const { node, direct, next, deeds, ledger } = fixture();
  direct.answer = "passthrough";
  opened(next(1), node);
  direct.answer = "deferred";
  deeds.length = 0;
  const answer = next(2).open(node, fresh());
  assert(typeof answer === "object");
  assert.equal(answer.backingId, 1);
  assert((answer.flags & OPEN_FLAG.PASSTHROUGH) !== 0);
  assert.deepEqual(deeds, []);
  assert.equal(ledger.get(node)?.handles, 2);
});

Deno.test("OpenFiles closes a backing id with the last handle, whoever opened it", () => {
  const { node, direct, next, deeds, counters } = fixture();
  direct.answer = "passthrough";
  const older = opened(next(1), node).handle;
  const files = next(2 ** 20);
  const newer = opened(files, node).handle;
  assert(newer < Number.MAX_SAFE_INTEGER);
  assert.equal(counters.handles, 2);
  deeds.length = 0;
  files.release(node, older, fresh());
  assert.deepEqual(deeds, []);
  files.release(node, newer, fresh());
  assert.deepEqual(deeds, ["close backing 1"]);
  assert.equal(counters.handles, 0);
});

Deno.test("OpenFiles closes nothing for a handle that its predecessor could not note", () => {
  const { node, direct, next, deeds, ledger } = fixture();
  direct.answer = "passthrough";
  const older = opened(next(1), node).handle;
  ledger.clear();
  const files = next(2);
  opened(files, node);
  deeds.length = 0;
  files.release(node, older, fresh());
  assert.deepEqual(deeds, []);
});

Deno.test("OpenFiles reads on what a predecessor had open, and lets go of it with the last handle", () => {
  const { node, direct, next, deeds, counters } = fixture();
  direct.answer = "pread";
  const handles = [opened(next(1), node).handle, opened(next(2), node).handle];
  const files = next(3);
  deeds.length = 0;
  direct.answer = "deferred";
  assert.equal(files.read(node, 0, new Uint8Array(10)), DEFERRED, "its disk is away");
  direct.answer = "pread";
  for (const offset of [0, 10]) assert.equal(files.read(node, offset, new Uint8Array(10)), 10);
  assert.equal(counters.directBytes, 20);
  const found = ["open deferred, not passed through", "open pread, not passed through"];
  assert.deepEqual(deeds, found, "one descriptor for all reads");
  for (const handle of handles) files.release(node, handle, fresh());
  assert.deepEqual(deeds.slice(found.length), ["close"]);
});

Deno.test("OpenFiles tells of a predecessor's handle that was read through the cache, for what is fetched ahead of it", () => {
  const { node, next, deeds } = fixture();
  const { handle } = opened(next(1), node);
  const files = next(2);
  deeds.length = 0;
  files.release(node, handle, fresh());
  files.release(node, 77, fresh());
  assert.deepEqual(deeds, ["tell released 1", "tell released 77"]);
});

Deno.test("OpenFiles counts a request that comes again once", () => {
  const { node, direct, next, ledger, counters } = fixture();
  direct.answer = "passthrough";
  const open = fresh();
  let files = next(1);
  opened(files, node);
  opened(files, node, open);
  opened(files, node, { ...open, isResent: true });
  assert.equal(ledger.get(node)?.handles, 2, "for the same process");
  files = next(2);
  const { handle } = opened(files, node, { ...open, isResent: true });
  assert.equal(ledger.get(node)?.handles, 2, "for the next one");
  const release = fresh();
  files.release(node, handle, release);
  files.release(node, handle, { ...release, isResent: true });
  next(3).release(node, handle, { ...release, isResent: true });
  assert.equal(ledger.get(node)?.handles, 1);
  assert.equal(counters.handles, 1);
});

Deno.test("OpenFiles takes back what was counted for an OPEN that cannot be answered any more", () => {
  const { node, direct, next, ledger } = fixture();
  direct.answer = "pread";
  const open = fresh();
  opened(next(1), node, open);
  direct.answer = "deferred";
  assert.equal(next(2).open(node, { ...open, isResent: true }), "deferred");
  assert.equal(ledger.get(node)?.handles, 0);
});

Deno.test("OpenFiles closes the backing id that a predecessor died of closing", () => {
  const { node, next, ledger, deeds } = fixture();
  ledger.set(node, { node, backingId: 9, handles: 0, request: 8 });
  next(2);
  assert.deepEqual(deeds, ["close backing 9"]);
});

Deno.test("OpenFiles without a ledger passes nothing through, and counts what it opened itself", () => {
  const { node, namespace, counters } = fixture();
  const closed: number[] = [];
  const files = new OpenFiles({
    namespace,
    reader: { read: () => -1 },
    direct: {
      open: () => ({ backingId: 4, read: () => 0, close: () => undefined }),
      closeBacking: (id) => closed.push(id),
    },
    observer: { opened: () => undefined, released: () => undefined },
    counters,
    ledger: undefined,
    nonce: 3,
  });
  const { handle, flags } = opened(files, node);
  assert.equal(flags & OPEN_FLAG.PASSTHROUGH, 0);
  assert.deepEqual(closed, [4]);
  files.release(node, handle - 2 ** 32, fresh());
  assert.equal(counters.handles, 1);
  files.release(node, handle, fresh());
  assert.equal(counters.handles, 0);
});
