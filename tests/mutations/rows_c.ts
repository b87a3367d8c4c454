/** Rows C1 to C5: the cache's disk, and what is on it. */

import type { Mutation } from "./mutation.ts";

const STORE = "tests/store/disk_cas_store_test.ts";
const READER = "tests/reader/file_reader_test.ts";

export const ROWS_C: readonly Mutation[] = [
  {
    row: "C1",
    layer: "P",
    behaviour: "from 99 % of the disk on nothing new is kept, until room was made",
    test: {
      file: "tests/store/watermarks_test.ts",
      name: "Space keeps nothing new from 99 % on, frees what it can, and goes on below 95 %",
    },
    removed: "the disk is written to as long as it takes writes",
    file: "src/store/space.ts",
    search: '    if (this.level === "full") throw this.#diskFull();\n',
    replace: "",
  },
  {
    row: "C1",
    layer: "P",
    behaviour: "from 95 % on the cache makes itself smaller",
    test: {
      file: "tests/store/watermarks_test.ts",
      name: "Space gives a disk back that another program fills to 97 %, and keeps the latest",
    },
    removed: "it does so from 99 % on",
    file: "src/store/watermarks.ts",
    search: "  evicting: 0.95,",
    replace: "  evicting: 0.99,",
  },
  {
    row: "C1",
    layer: "P",
    behaviour: "where none can be made, nothing is written until a probe succeeds",
    test: {
      file: STORE,
      name: "DiskCasStore turns to pass-through on a full disk, serves what it has, and comes back",
    },
    removed: "a disk that refused is tried by every write",
    file: "src/store/passthrough.ts",
    search: "if (now - this.#triedAt < PROBE_INTERVAL_MS) return false;",
    replace: "",
  },
  {
    row: "C2",
    layer: "P",
    behaviour: "a read-only disk is degraded, and serves what it has",
    test: {
      file: STORE,
      name: "DiskCasStore serves from a read-only disk, and finds damage there too",
    },
    removed: "a refused write does not degrade the disk",
    file: "src/store/passthrough.ts",
    search: "if (!isOurs(errno)) this.#degrade(error, errno);",
    replace: "if (!isOurs(errno) && isFull(errno)) this.#degrade(error, errno);",
  },
  {
    row: "C2",
    layer: "P",
    behaviour: "the disk is probed every 60 s, and caching goes on by itself",
    test: {
      file: "tests/store/passthrough_test.ts",
      name: "CacheDisk.probe() tries once a minute, and recovers",
    },
    removed: "what was degraded stays so",
    file: "src/store/passthrough.ts",
    search: '    this.#state = "writable";\n    this.#degradedSinceMs',
    replace: "    this.#degradedSinceMs",
  },
  {
    row: "C3",
    layer: "P",
    behaviour: "a missing, damaged or cut chunk is fetched again and counted",
    test: {
      file: READER,
      name: "FileReader.read() mends chunks that are missing, damaged or cut off",
    },
    removed: "chunks are not checked when they are read",
    file: "src/store/disk_cas_store.ts",
    search: "if (read === length && sameHash(this.#hash.digest(bytes), hash)) return bytes;",
    replace: "if (read === length) return bytes;",
  },
  {
    row: "C3",
    layer: "P",
    behaviour: "the worker checks a chunk, and again when its file changed",
    test: {
      file: "tests/reader/cached_reader_test.ts",
      name: "CachedReader.read() checks a chunk once, and again when its file changed",
    },
    removed: "a chunk that was checked is not looked at again",
    file: "src/reader/chunk_files.ts",
    search: "return this.#stamp.take(descriptor) && this.#stamp.isAt(stamps, stampAt);",
    replace: "return true;",
  },
  {
    row: "C3",
    layer: "P",
    behaviour: "damage in an extent is fetched again",
    test: { file: READER, name: "FileReader.read() gives the right bytes with a damaged extent" },
    removed: "blocks are not compared with their checksums",
    file: "src/reader/extent_file.ts",
    search: "return mark !== 0n && blockMark(this.#xxh64(block)) === mark;",
    replace: "return mark !== 0n && block.length > 0;",
  },
  {
    row: "C3",
    layer: "D",
    behaviour: "damaged chunks are never served: fetched again, or EIO offline",
    test: {
      file: "tests/e2e/upkeep_test.ts",
      name: "damaged chunks are never served: fetched again, or EIO offline",
    },
    removed: "the worker does not compare bytes with names",
    file: "src/reader/chunk_files.ts",
    search:
      "    for (let i = 0; i < digest.length; i += 1) if (digest[i] !== hashes[hashAt + i]) return false;\n",
    replace: "    if (digest.length !== hashes.length && hashAt < 0) return false;\n",
  },
  {
    row: "C4",
    layer: "P",
    behaviour: "bytes that do not fit the list are `changed` after two attempts",
    test: {
      file: READER,
      name: "FileReader.read() throws changed when the origin's bytes no longer fit the chunks",
    },
    removed: "what is fetched for a chunk is not compared with its name",
    file: "src/reader/chunk_reader.ts",
    search: "if (!sameHash(this.#options.digest(chunk), list.hash(i))) return false;",
    replace: "if (chunk.length !== list.length(i)) return false;",
  },
  {
    row: "C4",
    layer: "P",
    behaviour: "the file is then looked at again, and the reader told ESTALE",
    test: {
      file: "tests/mount/deferred_requests_test.ts",
      name: "DeferredRequests says ESTALE of a changed file and has it looked at again",
    },
    removed: "nobody looks at the file again",
    file: "src/mount/deferred_requests.ts",
    search: "      await library.refresh(entryIdOf(node), { signal }).catch((cause) =>",
    replace: "      await Promise.resolve({ library }).catch((cause) =>",
  },
  {
    row: "C5",
    layer: "P",
    behaviour: "80 % of the descriptors in use is warned of, once",
    test: {
      file: "tests/mount/descriptor_watch_test.ts",
      name:
        "watchDescriptors() warns once at 80 % of the limit, and again only after less than 70 %",
    },
    removed: "it is told at each count",
    file: "src/mount/descriptor_watch.ts",
    search: "} else if (!isTold && open >= TOLD_FROM * max) {",
    replace: "} else if (open >= TOLD_FROM * max) {",
  },
  {
    row: "C5",
    layer: "D",
    behaviour: "256 descriptors are enough for 1,000 open files and 100 readers",
    test: {
      file: "tests/e2e/descriptor_limit_test.ts",
      name: "a daemon of 256 descriptors serves 1,000 open files and 100 readers, --cache auto",
    },
    removed: "open files of local disks may take all descriptors",
    file: "src/base/descriptor_limit.ts",
    search: "  direct: 1 / 4,",
    replace: "  direct: 4,",
  },
  {
    row: "C1",
    layer: "D",
    behaviour: "a disk filled to the last byte costs no read; caching goes on when there is room",
    test: {
      file: "tests/e2e/cache_disk_test.ts",
      name: "a cache disk that is filled to the last byte costs no read, and is used again",
    },
    removed: "a disk that was full stays full",
    file: "src/store/watermarks.ts",
    search: 'if (!isBelow(WATERMARKS.full)) return "full";',
    replace: 'if (before === "full" || !isBelow(WATERMARKS.full)) return "full";',
  },
  {
    row: "C2",
    layer: "D",
    behaviour:
      "a disk that refuses costs no read, is shown as degraded, and used again once it takes writes",
    test: {
      file: "tests/e2e/cache_disk_test.ts",
      name:
        "a cache disk that lets nobody write (EPERM) costs no read, is tried again and used again",
    },
    removed: "what was degraded stays so",
    file: "src/store/passthrough.ts",
    search: '    this.#state = "writable";\n    this.#degradedSinceMs',
    replace: "    this.#degradedSinceMs",
  },
];
