/** More of rows B2, C1 and C5: what 192 damaged indexes, full disks and few descriptors have shown. */

import type { Mutation } from "./mutation.ts";

export const ROWS_FAULTS: readonly Mutation[] = [
  {
    row: "B2",
    layer: "P",
    behaviour:
      "a page with another's number, which only a commit would meet, is found by the probe",
    test: {
      file: "tests/store/index_pages_test.ts",
      name: "the probe finds a wrong page number that only a commit would meet",
    },
    removed: "the probe reads records, and writes what it undoes",
    file: "src/store/index_probe.ts",
    search: "if (fault !== undefined) return { bad: fault };",
    replace: "void fault;",
  },
  {
    row: "B2",
    layer: "P",
    behaviour: "an index that fell back to an older commit is set aside",
    test: {
      file: "tests/store/safe_open_test.ts",
      name: "openIndex() sets aside an index whose last commit is not that of the clean stop",
    },
    removed: "whatever commit LMDB takes for the newest is believed",
    file: "src/store/index_note.ts",
    search: "return before !== undefined && after !== undefined && after !== before;",
    replace: "return before !== undefined && after === undefined;",
  },
  {
    row: "C1",
    layer: "P",
    behaviour: "a disk that lacked room is tried as soon as it has some, not a minute later",
    test: {
      file: "tests/store/passthrough_test.ts",
      name:
        "CacheDisk.keepWatch() tries a disk that was full as soon as it has room, others in a minute",
    },
    removed: "it waits its minute, too",
    file: "src/store/passthrough.ts",
    search: "if (this.#lacksRoom && hasRoom) this.probeSoon();",
    replace: "void hasRoom;",
  },
  {
    row: "C1",
    layer: "P",
    behaviour: "the disk is looked at once a second, also when nothing was written",
    test: {
      file: "tests/store/watermarks_test.ts",
      name: "Space.look() asks the disk once a second, and reserve() too",
    },
    removed: "what was seen at the start is believed",
    file: "src/store/disk_watch.ts",
    search: "if (this.#options.clock.monotonic() - this.#lookedAt >= LOOK_MS) this.ask();",
    replace: "",
  },
  {
    row: "C2",
    layer: "P",
    behaviour: "reads go on while the store's writes fail, and are kept again after",
    test: {
      file: "tests/reader/faulty_store_test.ts",
      name:
        "FileReader.read() goes on while the store's writes end with EIO, which degrades the disk",
    },
    removed: "what the disk refused is an error of the reader's",
    file: "src/reader/ingest.ts",
    search: "if (error instanceof MusicfsError) {\n        this.#options.log.debug",
    replace:
      "if (error instanceof MusicfsError) {\n        throw error;\n        this.#options.log.debug",
  },
  {
    row: "C5",
    layer: "D",
    behaviour: "the control socket goes on after nobody could connect for want of descriptors",
    test: {
      file: "tests/e2e/descriptor_limit_test.ts",
      name: "serveControl() goes on after nobody could connect for want of descriptors",
    },
    removed: "the first connection that cannot be taken ends it",
    file: "src/mount/control.ts",
    search: "      if (signal.aborted) return;\n      if (!isTold)",
    replace: "      if (signal.aborted || isTold === false) throw error;\n      if (!isTold)",
  },
  {
    row: "C5",
    layer: "D",
    behaviour: "open files of a local disk leave descriptors for everything else",
    test: {
      file: "tests/e2e/descriptor_limit_test.ts",
      name: "a daemon of 256 descriptors serves 1,000 open files and 100 readers, --cache auto",
    },
    removed: "files of a local disk may take all descriptors",
    file: "src/mount/direct_files.ts",
    search: 'if (this.#descriptors >= this.#descriptorsMax) return "cached";',
    replace: "",
    limitS: 240,
  },
];
