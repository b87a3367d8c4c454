/** Random edits, moves and readers: whatever is taken for the same, every byte is the origin's. */

import assert from "node:assert/strict";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import type { CachedReader } from "../../src/reader/cached_reader.ts";
import type { FileVersion } from "../../src/store/file_version.ts";
import { flacFile, noise as words } from "../support/flac_file.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { rounds, seed } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";
import { edited, regionsOf } from "./delta_rig.ts";
import { assertSameBytes, KiB, Rig } from "./rig.ts";

const OPERATIONS = rounds({ ci: 250, long: 8_000 });
const FILES_MAX = 12;
const MS = 1_000_000n;

interface Sound {
  seed: number;
  samples: number;
}

interface File {
  path: string;
  version: FileVersion;
  bytes: Uint8Array<ArrayBuffer>;
  sound: Sound;
  /** Whether its audio is not what its MD5 says. Nobody else may have that MD5 then: it is trusted. */
  isEdited: boolean;
  wasRead: boolean;
}

class World {
  readonly origin = new MemoryOrigin("nas");
  readonly index = new MemoryIndex();
  readonly files = new Map<string, File>();
  /** Of each version, the ids of those before it under the same name, the latest first. */
  readonly #earlier = new Map<number, number[]>();
  readonly #published = new Map<number, ChunkRegion[]>();
  readonly #versions = new Map<number, FileVersion>();
  readonly superseded = new Set<number>();
  derived = 0;
  rig: Rig;
  worker: CachedReader;
  #id = 0;
  #sounds = 0;
  #now = 1_700_000_000_000n * MS;
  readonly #random: () => number;

  constructor(readonly cacheDir: string, random: () => number) {
    this.#random = random;
    this.rig = this.#start();
    this.worker = this.rig.cachedReader();
  }

  below(limit: number): number {
    return Math.abs(this.#random()) % limit;
  }

  pick(): File | undefined {
    return [...this.files.values()][this.below(Math.max(1, this.files.size))];
  }

  /** Nobody will have that sound any more but who has it now. */
  endSound(seed: number): void {
    this.#sounds = Math.max(this.#sounds, seed);
  }

  /** Most often a time of its own; sometimes the latest one, as files of one copy have. */
  time(): bigint {
    if (this.below(3) > 0) this.#now += MS;
    return this.#now;
  }

  /** A time that no other file has unless it was copied with it. */
  ownTime(): bigint {
    this.#now += MS;
    return this.#now + MS / 2n;
  }

  tags(): Record<string, string> {
    const lengths = [1, 1, 1, 20, 3_000, 70_000];
    return { TITLE: "abc".charAt(this.below(3)).repeat(lengths[this.below(lengths.length)] ?? 1) };
  }

  sound(): Sound {
    this.#sounds += this.below(2);
    return { seed: 1 + this.#sounds, samples: [30_000, 60_000][this.below(2)] ?? 0 };
  }

  /** Puts bytes under a path, as a new version of what is there. */
  async put(
    path: string,
    file: Omit<File, "version" | "path" | "wasRead">,
    mtimeNs: bigint,
  ): Promise<File> {
    this.#id += 1;
    const before = this.files.get(path)?.version.id;
    const old = before === undefined ? [] : [before, ...this.#earlier.get(before) ?? []];
    if (before !== undefined) this.superseded.add(before);
    this.#earlier.set(this.#id, old);
    const version = this.rig.know(
      this.#id,
      "nas",
      this.origin.put(path, file.bytes, mtimeNs),
      mtimeNs,
    );
    this.#versions.set(version.id, version);
    const known = { ...file, path, version, wasRead: false };
    this.files.set(path, known);
    if (this.below(4) === 0) this.#published.set(version.id, await this.#listFor(known));
    return known;
  }

  remove(path: string): void {
    const file = this.files.get(path);
    if (!file) return;
    this.superseded.add(file.version.id);
    this.files.delete(path);
    this.origin.remove(path);
  }

  /** What a fresh mount does. */
  forget(): void {
    for (const id of [...this.superseded].sort((a, b) => a - b)) {
      this.rig.manifests.retire(id);
      this.rig.versions.delete(id);
      this.#versions.delete(id);
    }
    this.superseded.clear();
  }

  async restart(): Promise<void> {
    this.derived += this.rig.reader.stats().derivedVersions;
    await this.rig[Symbol.asyncDispose]();
    this.rig = this.#start();
    for (const version of this.#versions.values()) this.rig.versions.set(version.id, version);
    this.worker = this.rig.cachedReader();
  }

  async read(file: File, offset: number, length: number): Promise<void> {
    const { version, bytes, path } = file;
    const expected = bytes.subarray(offset, offset + length);
    const into = new Uint8Array(length);
    const found = this.worker.read(version.id, offset, into);
    if (found >= 0) assertSameBytes(into.subarray(0, found), expected, `${path}, by the worker`);
    assertSameBytes(
      await this.rig.read(version, offset, length, 1 + this.below(3)),
      expected,
      path,
    );
  }

  /** Chunks are lost, here and there. */
  lose(file: File): void {
    const list = this.rig.manifests.list(file.version.id);
    if (list && list.count > 0) this.rig.store.delete(list.hash(this.below(list.count)));
  }

  /** Most often the file's own list; sometimes that of another sound, which is here or not. */
  async #listFor({ bytes, sound }: File): Promise<ChunkRegion[]> {
    const other = this.pick();
    const isForged = this.below(3) === 0 && other && other.sound.seed !== sound.seed;
    return await regionsOf(isForged ? other.bytes : bytes);
  }

  #start(): Rig {
    return new Rig(this.cacheDir, {
      index: this.index,
      origins: [this.origin],
      delta: {
        predecessors: ({ id }) => (this.#earlier.get(id) ?? []).map((id) => ({ id })),
        publishedList: ({ id }) => Promise.resolve(this.#published.get(id)),
      },
    });
  }
}

async function step(world: World): Promise<void> {
  const file = world.pick();
  const path = `${world.below(FILES_MAX)}.flac`;
  const isPending = [...world.files.values()].some(({ isEdited, wasRead }) => isEdited && !wasRead);
  switch (world.below(14)) {
    case 0:
    case 1: {
      const sound = world.sound();
      const bytes = flacFile({ ...sound, tags: world.tags() });
      await world.put(path, { bytes, sound, isEdited: false }, world.time());
      return;
    }
    case 2:
    case 3: {
      if (!file || file.isEdited) return;
      const bytes = flacFile({ ...file.sound, tags: world.tags() });
      await world.put(file.path, { ...file, bytes }, world.time());
      return;
    }
    case 4: {
      const { seed } = file?.sound ?? {};
      const isOnly = [...world.files.values()].every(({ path, sound }) =>
        path === file?.path || sound.seed !== seed
      );
      if (!file?.wasRead || !isOnly) return;
      world.endSound(file.sound.seed);
      const bytes = edited(file.bytes, 75_000 + world.below(20_000));
      await world.put(file.path, { ...file, bytes, isEdited: true }, world.ownTime());
      return;
    }
    case 5:
    case 6: {
      if (!file || file.isEdited || world.files.has(path)) return;
      const { mtimeNs } = file.version;
      if (world.below(3) > 0) world.remove(file.path);
      await world.put(path, file, world.below(4) > 0 ? mtimeNs : world.time());
      return;
    }
    case 7:
      if (!isPending && file) world.lose(file);
      return;
    case 8:
      if (isPending) return;
      if (world.below(2) === 0) world.forget();
      await world.restart();
      return;
    default: {
      if (!file) return;
      if (world.below(2) === 0) {
        return await world.read(file, world.below(file.bytes.length), 1 + world.below(64 * KiB));
      }
      for (let at = 0; at < file.bytes.length; at += 128 * KiB) {
        await world.read(file, at, 128 * KiB);
      }
      await world.rig.reader.idle();
      file.wasRead = true;
    }
  }
}

Deno.test("FileReader.read() gives the origin's bytes whatever was edited, moved, lost or published", async () => {
  await using dir = await tempDir();
  const world = new World(dir.path, words(seed()));
  try {
    for (let i = 0; i < OPERATIONS; i += 1) await step(world);
    for (const file of world.files.values()) await world.read(file, 0, file.bytes.length);
    await world.restart();
    assert.deepEqual(world.rig.cacheIndex.totals(), world.rig.cacheIndex.recount());
  } finally {
    await world.rig[Symbol.asyncDispose]();
  }
  // What nothing was derived in shows nothing.
  assert(world.derived > OPERATIONS / 50, `${world.derived} versions were derived`);
});
