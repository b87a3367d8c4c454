/** Rows B1 to B5: what lies on disk. */

import type { Mutation } from "./mutation.ts";

const STORE = "tests/store/disk_cas_store_test.ts";
const SAFE_OPEN = "tests/store/safe_open_test.ts";

export const ROWS_B: readonly Mutation[] = [
  {
    row: "B1",
    layer: "P",
    behaviour: "killed before the write: no chunk, and tmp is emptied at start",
    test: {
      file: STORE,
      name: "DiskCasStore.put() killed before_write leaves a whole chunk or none",
    },
    removed: "a chunk is renamed before it is written",
    file: "src/store/disk_cas_store.ts",
    search: '      failpoint("store.put.before_write");\n',
    replace: "makeFolder(this.#folder());\nlibc.rename(this.#tmpPath, this.#path);\n" +
      'failpoint("store.put.before_write");\n',
  },
  {
    row: "B1",
    layer: "P",
    behaviour: "killed between write and rename: no chunk, and tmp is emptied",
    test: {
      file: STORE,
      name: "DiskCasStore.put() killed before_rename leaves a whole chunk or none",
    },
    removed: "tmp is not emptied",
    file: "src/store/sweep.ts",
    search: "if (options.emptyTmp) emptyFolder",
    replace: "if (options.dryRun) emptyFolder",
  },
  {
    row: "B1",
    layer: "P",
    behaviour: "killed between rename and index: the chunk is adopted",
    test: {
      file: STORE,
      name: "DiskCasStore.put() killed after_rename leaves a whole chunk or none",
    },
    removed: "a file without a record is left so",
    file: "src/store/sweep.ts",
    search:
      "    result.adopted += 1;\n    result.adoptedBytes += status.diskBytes;\n    record(found, options);\n",
    replace: "",
  },
  {
    row: "B1",
    layer: "P",
    behaviour: "a file cut short is no duplicate, and is replaced",
    test: {
      file: "tests/contracts/cas_stores_test.ts",
      name: "DiskCasStore.put() replaces a file that is truncated by a byte",
      spelled: "tests/contracts/cas_store_contract.ts",
    },
    removed: "a file of any length counts as the chunk",
    file: "src/store/disk_cas_store.ts",
    search: "if (this.#read(onDisk) !== bytes.length) return false;",
    replace: "if (this.#read(onDisk) >= 0) return true;",
  },
  {
    row: "B1",
    layer: "D",
    behaviour: "killed at any step: a sound cache, right bytes, and an empty tmp",
    test: {
      file: "tests/e2e/store_kill_test.ts",
      name: "a daemon killed at any step of writing a chunk leaves a sound cache, and an empty tmp",
    },
    removed: "what was being written is left in tmp",
    file: "src/mount/cache.ts",
    search: "    Deno.removeSync(`${cacheDir}/tmp/${name}`, { recursive: true });\n",
    replace: "    void name;\n",
  },
  {
    row: "B2",
    layer: "P",
    behaviour: "what is no index is seen without LMDB, and set aside",
    test: {
      file: SAFE_OPEN,
      name: "openIndex() sets aside what is no index at all, seen without a probe",
    },
    removed: "the header is not looked at",
    file: "src/store/safe_open.ts",
    search: "const fault = await files.fault();",
    replace: "const fault: string | undefined = undefined;",
    takesProcess: true,
  },
  {
    row: "B2",
    layer: "P",
    behaviour: "what a probe in a child finds bad is set aside, never deleted",
    test: {
      file: SAFE_OPEN,
      name: "openIndex() sets aside what the probe finds bad, and keeps the newest two of those",
    },
    removed: "what the probe says is not heeded",
    file: "src/store/safe_open.ts",
    search: 'if (result !== "ok") return { fault: result.bad, probeLater: false };',
    replace: "",
  },
  {
    row: "B2",
    layer: "P",
    behaviour: "each record is behind a checksum of its key and value",
    test: {
      file: "tests/store/index_test.ts",
      name: "Index.table().get() and range() throw corrupt for a flipped bit anywhere in a record",
    },
    removed: "every record passes for intact",
    file: "src/store/record_seal.ts",
    search:
      "return seal === new DataView(value.buffer, value.byteOffset - SEAL_BYTES).getBigUint64(0, true);",
    replace: "return seal !== -1n;",
  },
  {
    row: "B2",
    layer: "P",
    behaviour: "an index of a newer format is refused and left as it is",
    test: {
      file: "tests/store/index_test.ts",
      name: "Index opened for a format that is not known yet throws invalid and changes nothing",
    },
    removed: "any format is taken",
    file: "src/store/index_meta.ts",
    search: "if (format === undefined || format <= INDEX_FORMAT) return;",
    replace: "if (format !== -1) return;",
  },
  {
    row: "B2",
    layer: "D",
    behaviour: "rebuilt from chunks and manifests: cached tracks play offline",
    test: {
      file: "tests/e2e/upkeep_test.ts",
      name: "an index with a text file in its place is rebuilt, and cached tracks play offline",
    },
    removed: "nothing is rebuilt",
    file: "src/mount/cache.ts",
    search: "  if (opened.created) {\n    const identities",
    replace: "  if (opened.created && config.maxSizeBytes === -1) {\n    const identities",
  },
  {
    row: "B3",
    layer: "P",
    behaviour: "an interrupted scan goes on where it stopped, for five minutes",
    test: {
      file: "tests/library/scan_test.ts",
      name: "Library.scan() begins anew what was interrupted long ago, or if it is told to",
    },
    removed: "every scan begins anew",
    file: "src/library/scan.ts",
    search:
      "this.#resumed = this.#options.resume && state.running && Math.abs(idleMs) < RESUME_MS_MAX;",
    replace: "this.#resumed = Math.abs(idleMs) < 0;",
  },
  {
    row: "B3",
    layer: "P",
    behaviour: "each file is counted once, however often it is interrupted",
    test: {
      file: "tests/library/scan_test.ts",
      name: "Library.scan() resumed after any number of interruptions counts each file once",
    },
    removed: "the counts of a scan begin anew with each life",
    file: "src/library/scan.ts",
    search: "      if (this.#resumed) {\n",
    replace: "      if (this.#resumed) {\n        state.counts = noCounts();\n",
  },
  {
    row: "B3",
    layer: "D",
    behaviour: "a scan killed at any point is gone on with, and tells each change once",
    test: {
      file: "tests/e2e/scan_kill_test.ts",
      name: "scan killed at every failpoint goes on, and tells of each file once",
    },
    removed: "every scan begins anew",
    file: "src/library/scan.ts",
    search:
      "this.#resumed = this.#options.resume && state.running && Math.abs(idleMs) < RESUME_MS_MAX;",
    replace: "this.#resumed = Math.abs(idleMs) < 0;",
    limitS: 300,
  },
  {
    row: "B4",
    layer: "P",
    behaviour: "`verify` reads every chunk",
    test: {
      file: "tests/store/verify_test.ts",
      name: "verifyStore() finds what is corrupt and missing, and changes nothing",
    },
    removed: "bytes are not compared with names",
    file: "src/store/verify.ts",
    search:
      'return sameHash(hash.digest(this.#buffer.subarray(0, read)), id) ? "good" : "corrupt";',
    replace: 'return "good";',
  },
  {
    row: "B4",
    layer: "P",
    behaviour: "`verify --repair` believes only what it reads afterwards",
    test: {
      file: "tests/store/verify_test.ts",
      name: "verifyStore() repairs through the callback, and believes only what it reads",
    },
    removed: "a repair that says it worked is believed",
    file: "src/store/verify.ts",
    search: 'if (this.#stateOf(chunk.hash) === "good") this.report.repaired += 1;',
    replace: "this.report.repaired += 1;",
  },
  {
    row: "B4",
    layer: "P",
    behaviour: "some chunks are read at each start, and what is bad is told of and dropped",
    test: {
      file: "tests/store/sample_check_test.ts",
      name: "checkSample() finds out that a disk goes bad, and drops what is damaged",
    },
    removed: "it is enough that there is a file",
    file: "src/store/sample_check.ts",
    search: "return store.get(id, contentBytes).length === contentBytes;",
    replace: "return store.has(id, contentBytes);",
  },
  {
    row: "B5",
    layer: "D",
    behaviour: "a warm mount reads nothing from its origin",
    test: {
      file: "tests/e2e/lifecycle_test.ts",
      name: "a warm mount reads nothing from its origin",
    },
    removed: "lists of chunks are not written into the index",
    file: "src/store/manifests.ts",
    search: "      this.#table.put(manifestKey(version.id), record);\n      this.donors.note(",
    replace: "      void record;\n      this.donors.note(",
  },
];
