import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import {
  checked,
  cString,
  libc,
  O_CREAT,
  O_TRUNC,
  O_WRONLY,
  openFile,
  pwriteFully,
} from "../base/posix.ts";
import type { ChunkHash } from "../chunking/chunk_hash.ts";
import type { ChunkList } from "../chunking/chunk_list.ts";
import {
  type ChunkManifest,
  decodeManifest,
  encodeManifest,
  MANIFEST_FORMAT,
} from "../chunking/chunk_manifest.ts";
import { type FileVersion, sourceKeyOf, versionFilePath, type VersionKey } from "./file_version.ts";
import { entriesOf, FOLDER_NAMES, idOf, makeFolder } from "./layout.ts";
import type { CacheDisk } from "./passthrough.ts";
import type { Space } from "./space.ts";

/** What `ManifestFiles` is made of. */
export interface ManifestFilesOptions {
  disk: CacheDisk;
  space: Pick<Space, "reserve" | "grew">;
  cacheDir: string;
  /** Names chunks. */
  hash: ChunkHash;
  /** xxh128, whatever names the chunks: makes version keys. */
  keyHash: ChunkHash;
  log: Log;
}

/** A manifest as it lies on disk, and the key it lies under. */
export interface StoredManifest {
  key: VersionKey;
  manifest: ChunkManifest;
}

const KEY_BYTES = 16;
const FILE_MODE = 0o600;
const ENOENT = 2;

/** The files in `manifests/`, one for each version that is whole. */
export class ManifestFiles {
  readonly #options: ManifestFilesOptions;

  constructor(options: ManifestFilesOptions) {
    this.#options = options;
  }

  /**
   * All manifests on disk, for a rebuild of the index. Files that are damaged, of a newer musicfs or
   * lie under a name that is not theirs are left out with a warning.
   */
  *all(): Iterable<StoredManifest> {
    const folder = `${this.#options.cacheDir}/manifests`;
    for (const shard of FOLDER_NAMES) {
      for (const { name } of entriesOf(`${folder}/${shard}`)) {
        const manifest = this.#readFile(`${folder}/${shard}/${name}`, name);
        if (manifest) yield { key: name, manifest };
      }
    }
  }

  /** Best effort: without the file the track is only lost to a rebuild of the index. */
  write(key: VersionKey, version: FileVersion, list: ChunkList): void {
    const { cacheDir, disk, space, hash } = this.#options;
    const { origin, path, version: originVersion } = version.sources[0];
    const bytes = encodeManifest({
      format: MANIFEST_FORMAT,
      origin,
      path,
      version: originVersion,
      size: version.size,
      mtimeNs: version.mtimeNs,
      hash: hash.name,
      regions: list.toRegions(),
    });
    const target = versionFilePath(`${cacheDir}/manifests`, key);
    const temporary = `${cacheDir}/tmp/manifest-${key}`;
    try {
      space.reserve(bytes.length);
      const reason = writeAtomically({ target, temporary, bytes });
      if (reason !== 0) throw disk.failed("manifests.write", target, reason);
      space.grew(bytes.length);
    } catch (error) {
      if (!(error instanceof MusicfsError)) throw error;
      this.#options.log.debug("Manifest was not written", { target, error });
    }
  }

  /** Deletes a version's file, if there is one. */
  remove(key: VersionKey): void {
    libc.unlink(cString(versionFilePath(`${this.#options.cacheDir}/manifests`, key)));
  }

  /** Deletes the files of all other versions. */
  removeAllBut(known: ReadonlySet<VersionKey>): void {
    for (const shard of FOLDER_NAMES) {
      for (const { name } of entriesOf(`${this.#options.cacheDir}/manifests/${shard}`)) {
        if (idOf(name, shard)?.length === KEY_BYTES && !known.has(name)) this.remove(name);
      }
    }
  }

  #readFile(path: string, key: VersionKey): ChunkManifest | undefined {
    try {
      const manifest = decodeManifest(Deno.readFileSync(path), { subject: path });
      if (sourceKeyOf(manifest, this.#options.keyHash) === key) return manifest;
      this.#options.log.warning("Manifest lies under a name that is not its own", { path });
    } catch (error) {
      this.#options.log.warning("Manifest cannot be read; the file will be fetched again", {
        path,
        error,
      });
    }
    return undefined;
  }
}

/** Writes a file in the manner of the cache: aside, then renamed. 0 or the errno that stopped it. */
function writeAtomically(
  { target, temporary, bytes }: {
    target: string;
    temporary: string;
    bytes: Uint8Array<ArrayBuffer>;
  },
): number {
  const descriptor = openFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, FILE_MODE);
  if (descriptor < 0) return -descriptor;
  let result = pwriteFully(descriptor, bytes, 0);
  libc.close(descriptor);
  const rename = (): number => checked(libc.rename(cString(temporary), cString(target)));
  if (result >= 0) result = rename();
  if (result === -ENOENT && makeFolder(target.slice(0, target.lastIndexOf("/")))) result = rename();
  if (result < 0) libc.unlink(cString(temporary));
  return result < 0 ? -result : 0;
}
