/** Rows E1 to E10: change, load and people. */

import type { Mutation } from "./mutation.ts";

const WATCHER = "tests/library/origin_watcher_test.ts";
const READER = "tests/reader/file_reader_test.ts";

export const ROWS_E: readonly Mutation[] = [
  {
    row: "E1",
    layer: "P",
    behaviour: "where changes are lost the origin is scanned",
    test: {
      file: WATCHER,
      name: "OriginWatcher scans when changes were lost, and again if more were during the scan",
    },
    removed: "a loss is not heeded",
    file: "src/library/origin_watcher.ts",
    search: "        this.rescan();\n      },\n    });",
    replace: "      },\n    });",
  },
  {
    row: "E1",
    layer: "P",
    behaviour: "a scan that fails is tried again, later each time",
    test: {
      file: WATCHER,
      name: "OriginWatcher scans with longer and longer waits while that fails",
    },
    removed: "a scan that failed counts as complete",
    file: "src/library/origin_watcher.ts",
    search: "complete = await scan(signal);",
    replace: "await scan(signal);\n        complete = true;",
  },
  {
    row: "E1",
    layer: "P",
    behaviour: "a watcher that dies is started again",
    test: {
      file: WATCHER,
      name: "OriginWatcher.run() ends with a scan's own fault, to be started again",
    },
    removed: "its end is not known to be a failure",
    file: "src/library/origin_watcher.ts",
    search: "      this.hasFailed = !signal.aborted;\n",
    replace: "",
  },
  {
    row: "E1",
    layer: "D",
    behaviour: "right again after the kernel's queue has overflowed",
    test: {
      file: "tests/e2e/watch_test.ts",
      name: "a mount is right again after the kernel's queue has overflowed",
    },
    removed: "a loss is not heeded",
    file: "src/library/origin_watcher.ts",
    search: "        this.rescan();\n      },\n    });",
    replace: "      },\n    });",
  },
  {
    row: "E2",
    layer: "P",
    behaviour: "versions of one file are never mixed",
    test: { file: READER, name: "FileReader.read() keeps versions of one file apart" },
    removed: "an extent is named by the path alone",
    file: "src/store/file_version.ts",
    search: "return hex(hash.digest(encoder.encode(`${origin}\\0${path}\\0${version}`)));",
    replace:
      "return hex(hash.digest(encoder.encode(`${origin}\\0${path}${version.slice(0, 0)}`)));",
  },
  {
    row: "E2",
    layer: "D",
    behaviour: "a file replaced while it is open keeps its bytes or is ESTALE",
    test: {
      file: "tests/e2e/replaced_test.ts",
      name: "a file replaced while it is open (read before) keeps its bytes or is ESTALE",
    },
    removed: "one node id for all versions of a file",
    file: "src/library/node_id.ts",
    search: "ROOT_ID : entryId * SEQUENCES + sequence;",
    replace: "ROOT_ID : entryId * SEQUENCES + Math.min(sequence, 1);",
  },
  {
    row: "E3",
    layer: "P",
    behaviour: "last uses never go back, over a restart either",
    test: {
      file: "tests/store/cache_index_test.ts",
      name: "CacheIndex goes on from the newest use after a restart with the clock set back",
    },
    removed: "the clock is believed",
    file: "src/store/use_clock.ts",
    search: "this.#last = Math.max(this.#seconds(), newest(lru));",
    replace: "this.#last = Math.min(this.#seconds(), 2 * newest(lru) + this.#seconds());",
  },
  {
    row: "E3",
    layer: "P",
    behaviour: "a file whose time is too young to tell an edit is confirmed by content",
    test: {
      file: "tests/library/young_files_test.ts",
      name: "Library notes as young what a listing or a look finds new or changed",
    },
    removed: "nothing is noted as young",
    file: "src/library/young_files.ts",
    search: "    this.again({ origin, path, version });\n  }\n\n  /** Remembers a file that could",
    replace: "    void [origin, path, version];\n  }\n\n  /** Remembers a file that could",
  },
  {
    row: "E4",
    layer: "D",
    behaviour: "a folder of 100,000 is listed whole, once each, and seekable",
    test: {
      file: "tests/e2e/large_folder_test.ts",
      name: "a folder of 100,000 files is listed once, whole and seekable",
    },
    removed: "a listing goes on one name further than it stopped",
    file: "src/fuse/operations.ts",
    search: "this.#namespace.children(folder.id, Math.max(cookie, COOKIE_PARENT))",
    replace: "this.#namespace.children(folder.id, Math.max(cookie + 1, COOKIE_PARENT))",
  },
  {
    row: "E4",
    layer: "D",
    behaviour: "1,000 files are open and read at once",
    test: { file: "tests/e2e/large_folder_test.ts", name: "1,000 files are open and read at once" },
    removed: "half as many handles",
    file: "src/fuse/open_files.ts",
    search: "    const counted = this.#whereCounted(request);\n    const open = this.#find",
    replace: "    if (this.#counters.handles >= 500) return undefined;\n" +
      "    const counted = this.#whereCounted(request);\n    const open = this.#find",
  },
  {
    row: "E5",
    layer: "P",
    behaviour: "names that cannot be names are refused",
    test: {
      file: "tests/library/library_test.ts",
      name: "Library hides .musicfs and what is excluded, and refuses hostile names",
    },
    removed: "a name may hold a slash",
    file: "src/library/delta_detector.ts",
    search: 'if (name.includes("/") || name.includes("\\0") || !name.isWellFormed()) return false;',
    replace: "if (!name.isWellFormed()) return false;",
  },
  {
    row: "E5",
    layer: "P",
    behaviour: "`..` is no name",
    test: {
      file: "tests/library/delta_detector_test.ts",
      name: "Listing refuses hostile and repeated names, and says how many",
    },
    removed: "`.` and `..` are taken for names",
    file: "src/library/delta_detector.ts",
    search: '  if (name === "" || name === "." || name === "..") return false;\n',
    replace: "",
  },
  {
    row: "E5",
    layer: "P",
    behaviour: "a file that is no audio, or damaged, is one piece",
    test: {
      file: "tests/chunking/audio_layout_test.ts",
      name: "layoutOf() takes what is unknown, odd or cut off for one piece",
    },
    removed: "what was found before it turned odd is believed",
    file: "src/chunking/audio_layout.ts",
    search: "  if (!isKnown) file.giveUp();\n",
    replace: "",
  },
  {
    row: "E5",
    layer: "D",
    behaviour: "links that lead outside, FIFOs and names that are not UTF-8 are not shown",
    test: { file: "tests/e2e/music_test.ts", name: "mount leaves out what contract.md says" },
    removed: "links are shown wherever they lead",
    file: "src/origins/local_root.ts",
    search: "    if (below === undefined) return undefined;\n",
    replace: "    if (below === undefined) return text;\n",
  },
  {
    row: "E6",
    layer: "D",
    behaviour: "each way to write gets the errno of a read-only ext4",
    test: {
      file: "tests/e2e/writes_test.ts",
      name: "every write fails as on a read-only ext4, with --cache on",
    },
    removed: "the kernel is not told that the mount is read-only",
    file: "src/fuse/device.ts",
    search: "    MS_RDONLY | MS_NOSUID | MS_NODEV,",
    replace: "    MS_NOSUID | MS_NODEV,",
  },
  {
    row: "E7",
    layer: "D",
    behaviour: "memory and mount time are those of a small library",
    test: {
      file: "tests/e2e/great_library_test.ts",
      name: "a great library is mounted as soon as a small one, and takes hardly more memory",
    },
    removed: "all names are read into memory before the mount",
    file: "src/mount/cache.ts",
    search: "  if (options.forMount && !goesOn) await library.beginMount();\n",
    replace: `  const kept = (globalThis as Record<string, unknown[]>)["kept"] = [] as unknown[];
  const walk = (folder: number): void => {
    for (const entry of [...namespace.children(folder, 0)]) {
      kept.push(entry);
      if (entry.kind === "folder") walk(entry.id);
    }
  };
  walk(ROOT_ID);
  if (options.forMount && !goesOn) await library.beginMount();
`,
    limitS: 240,
  },
  {
    row: "E8",
    layer: "P",
    behaviour: "reads give right bytes while chunks are evicted",
    test: {
      file: "tests/reader/reader_model_test.ts",
      name: "FileReader and CachedReader never give a wrong byte, whatever happens",
    },
    removed: "a chunk that was checked once is believed for ever",
    file: "src/reader/chunk_files.ts",
    search: "return this.#stamp.take(descriptor) && this.#stamp.isAt(stamps, stampAt);",
    replace: "return true;",
  },
  {
    row: "E8",
    layer: "P",
    behaviour: "du of the cache stays below the limit",
    test: {
      file: "tests/store/space_test.ts",
      name: "Space.reserve() keeps du below the limit, whatever comes, goes and grows",
    },
    removed: "nothing is evicted",
    file: "src/store/space.ts",
    search: "if (this.#over(needBytes) > 0) this.#makeRoom(needBytes, keep);",
    replace: "if (this.#over(needBytes) > 1e15) this.#makeRoom(needBytes, keep);",
  },
  {
    row: "E8",
    layer: "D",
    behaviour: "gc beside a reader: right bytes, and the limit holds",
    test: {
      file: "tests/e2e/upkeep_test.ts",
      name: "gc shrinks the cache to --max-size beside a mount that is read",
    },
    removed: "gc evicts nothing",
    file: "src/mount/commands.ts",
    search: "dryRun ? limitBytes + orphanBytes : limitBytes",
    replace: "dryRun ? limitBytes + orphanBytes : 1e15",
  },
  {
    row: "E10",
    layer: "P",
    behaviour: "a track larger than the limit plays, and the limit holds",
    test: {
      file: READER,
      name: "FileReader.read() plays a track that is larger than the limit, and holds the limit",
    },
    removed: "nothing is evicted",
    file: "src/store/space.ts",
    search: "if (this.#over(needBytes) > 0) this.#makeRoom(needBytes, keep);",
    replace: "if (this.#over(needBytes) > 1e15) this.#makeRoom(needBytes, keep);",
  },
  {
    row: "E10",
    layer: "D",
    behaviour: "a track larger than the limit plays, and the limit holds",
    test: { file: "tests/e2e/cache_limit_test.ts", name: "a track larger than --max-size plays" },
    removed: "nothing is evicted",
    file: "src/store/space.ts",
    search: "if (this.#over(needBytes) > 0) this.#makeRoom(needBytes, keep);",
    replace: "if (this.#over(needBytes) > 1e15) this.#makeRoom(needBytes, keep);",
  },
  {
    row: "E2",
    layer: "D",
    behaviour: "the next open sees the new version",
    test: {
      file: "tests/e2e/replaced_test.ts",
      name: "a file replaced while it is open (half read before) keeps its bytes or is ESTALE",
    },
    removed: "the kernel is not told of changes",
    file: "src/mount/start_mount.ts",
    search: "  cache.changes.listener = (changes) => mount.tell(changes);\n",
    replace: "",
  },
];
