/** Row A4b, as far as files of local disks are open while one daemon follows another. */

import type { Mutation } from "./mutation.ts";

const HANDOVER = "tests/mount/direct_handover_test.ts";
const LEDGER = "tests/mount/handle_ledger_test.ts";
const OPEN_FILES = "src/fuse/open_files.ts";

export const ROWS_HANDLES: readonly Mutation[] = [
  {
    row: "A4b",
    layer: "D",
    behaviour: "a file that the kernel reads by itself is opened again with its backing id",
    test: {
      file: HANDOVER,
      name:
        "a file that a predecessor opened goes on, opens again and is given back, by passthrough",
    },
    removed: "a successor forgets backing ids",
    file: OPEN_FILES,
    search: "const open: OpenNode = { backingId, own: 0, inherited: handles, bytes: undefined };",
    replace:
      "const open: OpenNode = { backingId: backingId * 0, own: 0, inherited: handles, bytes: undefined };",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "how a node is open is on the disk before its OPEN is answered",
    test: {
      file: HANDOVER,
      name:
        "a file that a predecessor opened goes on, opens again and is given back, by passthrough",
    },
    removed: "the ledger is not written",
    file: "src/mount/handle_ledger.ts",
    search: "const isWritten = pwriteFully(this.descriptor, this.#record, at) === RECORD_BYTES;",
    replace: "const isWritten = at > 0;",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "a RELEASE that is sent again counts once",
    test: {
      file: HANDOVER,
      name: "each handle counts once if the daemon dies at RELEASE, unanswered, by passthrough",
    },
    removed: "each RELEASE counts",
    file: OPEN_FILES,
    search: "nonce === 0 || this.#whereCounted(request)) return;",
    replace: "nonce === 0) return;",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "an OPEN that is sent again counts once",
    test: {
      file: HANDOVER,
      name: "each handle counts once if the daemon dies at OPEN, unanswered, by passthrough",
    },
    removed: "each OPEN counts",
    file: OPEN_FILES,
    search: "const counted = this.#whereCounted(request);",
    replace: 'const counted = undefined as "here" | "before" | undefined;',
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "a backing id that nobody could note is given back",
    test: {
      file: HANDOVER,
      name:
        "each handle counts once if the daemon dies at OPEN, handles.backing_opened, by passthrough",
    },
    removed: "lost ids are not looked for",
    file: "src/mount/direct_files.ts",
    search: "    this.#closeLost(this.#ledger);\n",
    replace: "",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "a backing id whose last handle was counted is given back by the successor",
    test: {
      file: HANDOVER,
      name:
        "each handle counts once if the daemon dies at RELEASE, handles.counted, by passthrough",
    },
    removed: "what has no handle left stays as it is",
    file: OPEN_FILES,
    search: "      else this.#dropBacking(open);\n",
    replace: "",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "a file that a predecessor read for the kernel is opened by the successor",
    test: {
      file: HANDOVER,
      name: "a file that a predecessor opened goes on, opens again and is given back, by pread",
    },
    removed: "it is left to the cache",
    file: OPEN_FILES,
    search: "const direct = open && this.#bytesOf(node, open);",
    replace: "const direct = open?.bytes;",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "a node is opened the way it is open already",
    test: {
      file: HANDOVER,
      name: "a node stays open the way it is, whatever the next daemon was told of passthrough",
    },
    removed: "whatever is opened is given to the kernel",
    file: OPEN_FILES,
    search: "{ mayPassThrough: known === undefined }",
    replace: "{ mayPassThrough: true }",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "where the ledger is damaged, the kernel gets no more files",
    test: {
      file: HANDOVER,
      name:
        "a ledger damaged by a flipped bit: no wrong byte, and nothing fails but to open what it lost",
    },
    removed: "a damaged ledger counts as whole",
    file: "src/mount/direct_files.ts",
    search: "if (!allowed || this.#ledger?.isWhole !== true) return;",
    replace: "if (!allowed || !this.#ledger) return;",
  },
  {
    row: "A4b",
    layer: "D",
    behaviour: "the next daemon goes on with what is open",
    test: {
      file: "tests/e2e/direct_handover_test.ts",
      name:
        "kill -9 while files of a local disk are used, by passthrough: no error, no wrong byte, all given back",
    },
    removed: "each daemon begins a ledger of its own",
    file: "src/mount/fuse_worker.ts",
    search: "    resumed: start.resumed !== undefined,\n",
    replace: "    resumed: false,\n",
  },
  {
    row: "A4b",
    layer: "P",
    behaviour: "what a predecessor owed is asked for again, before anything is read",
    test: {
      file: "tests/fuse/session_test.ts",
      name: "serveSession() asks for what a predecessor owed before it reads, and only then",
    },
    removed: "the kernel is not asked again",
    file: "src/fuse/session.ts",
    search: "    if (this.#options.asksForOwed) this.#askForOwed();\n",
    replace: "",
  },
  {
    row: "A4b",
    layer: "P",
    behaviour: "a record of the ledger is behind a checksum",
    test: {
      file: LEDGER,
      name:
        "HandleLedgerFile never gives a damaged record for a sound one, nor forgets that there was one",
    },
    removed: "every record passes for intact",
    file: "src/mount/handle_ledger.ts",
    search: "return view.getUint32(CHECK_AT, true) === checkOf(record);",
    replace: "return view.getUint32(CHECK_AT, true) >= 0;",
  },
  {
    row: "A4b",
    layer: "P",
    behaviour: "what cannot be noted is said, also to the next daemon",
    test: {
      file: LEDGER,
      name: "HandleLedgerFile says what could not be noted, and so does its file, on a full disk",
    },
    removed: "the file goes on to say that it is whole",
    file: "src/mount/handle_ledger.ts",
    search: "    pwriteFully(this.descriptor, headerOf(0), 0);\n    return false;",
    replace: "    return false;",
  },
  {
    row: "A4b",
    layer: "P",
    behaviour: "a handle that its predecessor could not note closes nothing",
    test: {
      file: "tests/fuse/open_files_test.ts",
      name: "OpenFiles closes nothing for a handle that its predecessor could not note",
    },
    removed: "any handle is taken for one of ours",
    file: OPEN_FILES,
    search: "isOwn: nonce === this.#nonce && open.own > 0, request",
    replace: "isOwn: open.own > 0, request",
  },
  {
    row: "A4b",
    layer: "P",
    behaviour: "what is fetched ahead of a predecessor's handle ends with it",
    test: {
      file: "tests/fuse/open_files_test.ts",
      name:
        "OpenFiles tells of a predecessor's handle that was read through the cache, for what is fetched ahead of it",
    },
    removed: "only own handles are told of",
    file: OPEN_FILES,
    search: "if (!isDirect || nonce === 0) this.#observer.released(node, handle);",
    replace: "if (!isDirect && nonce === this.#nonce) this.#observer.released(node, handle);",
  },
];
