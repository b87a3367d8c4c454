import {
  checked,
  cString,
  libc,
  O_DIRECTORY,
  O_PATH,
  openFile,
  preadFully,
  statDescriptor,
} from "../base/posix.ts";
import type { DirectFile, DirectOpener } from "../fuse/open_files.ts";
import { IOCTL_BACKING_CLOSE, IOCTL_BACKING_OPEN } from "../fuse/protocol.ts";
import type { Namespace } from "../library/namespace.ts";
import { OPEN_HOW_BYTES, OPENAT2, openHow } from "../origins/open_beneath.ts";
import { sizeTimeVersion } from "../origins/size_time_version.ts";
import { BackingIds } from "./backing_ids.ts";
import type { SharedCounters } from "./shared_counters.ts";

/** What direct files are opened with. */
export interface DirectFilesOptions {
  namespace: Namespace;
  /** The `/dev/fuse` descriptor, which backing files are told to. */
  descriptor: number;
  cacheDir: string;
  directRoots: readonly { origin: string; root: string }[];
  passthrough: boolean;
  counted: SharedCounters;
}

/**
 * Opens files of local disks themselves, for origins whose bytes are not cached; where the kernel
 * allows it, the kernel then reads them without asking.
 */
export class DirectFiles implements DirectOpener {
  readonly #namespace: Namespace;
  readonly #descriptor: number;
  readonly #roots: ReadonlyMap<string, string>;
  readonly #how = openHow();
  readonly #backingIds: BackingIds | undefined;
  readonly #counters: SharedCounters;
  #passthrough = false;

  constructor(options: DirectFilesOptions) {
    this.#namespace = options.namespace;
    this.#descriptor = options.descriptor;
    this.#counters = options.counted;
    this.#roots = new Map(options.directRoots.map(({ origin, root }) => [origin, root]));
    this.#backingIds = options.passthrough && this.#roots.size > 0
      ? new BackingIds(`${options.cacheDir}/session.backing`)
      : undefined;
  }

  /** Says what INIT agreed on. */
  allowPassthrough(allowed: boolean): void {
    this.#passthrough = allowed && this.#backingIds !== undefined;
  }

  open(version: number): DirectFile | "cached" | "deferred" {
    if (this.#roots.size === 0) return "cached";
    const source = this.#namespace.version(version)?.sources[0];
    const root = source && this.#roots.get(source.origin);
    if (source === undefined || root === undefined) return "cached";
    const descriptor = this.#openBeneath(root, source.path);
    if (descriptor < 0) return "deferred";
    const status = statDescriptor(descriptor);
    if (typeof status === "number" || versionOf(status) !== source.version) {
      libc.close(descriptor);
      return "deferred";
    }
    const backingId = this.#passthrough ? this.#openBacking(version, descriptor) : 0;
    if (backingId > 0) this.#counters.passthroughOpens += 1;
    return new OpenedDirectly(descriptor, {
      version: source.version,
      backingId,
      closed: () => this.#closeBacking(version, backingId),
    });
  }

  /**
   * No link and no `..` on the way leads out of the root, which is opened anew each time: a
   * descriptor that is kept would keep a disk from being unmounted.
   *
   * @returns a descriptor, or `-errno`
   */
  #openBeneath(root: string, path: string): number {
    const folder = openFile(root, O_PATH | O_DIRECTORY);
    if (folder < 0) return folder;
    const result = libc.openat2(OPENAT2, folder, cString(path), this.#how, OPEN_HOW_BYTES);
    const descriptor = checked(Number(result));
    libc.close(folder);
    return descriptor;
  }

  /** @returns the kernel's id, or 0: then reads come to us, which is slower and just as right */
  #openBacking(version: number, descriptor: number): number {
    const map = new Uint8Array(16);
    new DataView(map.buffer).setInt32(0, descriptor, true);
    const id = checked(libc.ioctl(this.#descriptor, IOCTL_BACKING_OPEN, map));
    if (id <= 0) {
      // No privilege, or a filesystem that cannot stand below another: it will not get better.
      this.#passthrough = false;
      return 0;
    }
    if (this.#backingIds?.add(version, id)) return id;
    this.#closeBacking(version, id);
    return 0;
  }

  #closeBacking(version: number, id: number): void {
    if (id <= 0) return;
    const value = new Uint8Array(4);
    new DataView(value.buffer).setInt32(0, id, true);
    libc.ioctl(this.#descriptor, IOCTL_BACKING_CLOSE, value);
    this.#backingIds?.remove(version);
  }
}

class OpenedDirectly implements DirectFile {
  readonly backingId: number;
  readonly #descriptor: number;
  readonly #version: string;
  readonly #closed: () => void;

  constructor(
    descriptor: number,
    { version, backingId, closed }: { version: string; backingId: number; closed: () => void },
  ) {
    this.#descriptor = descriptor;
    this.#version = version;
    this.backingId = backingId;
    this.#closed = closed;
  }

  /** Looks at the file's times after reading: an edit in place must not be served as the old one. */
  read(offset: number, into: Uint8Array<ArrayBuffer>): number {
    const bytes = preadFully(this.#descriptor, into, offset);
    const status = statDescriptor(this.#descriptor);
    const same = typeof status !== "number" && versionOf(status) === this.#version;
    return same ? bytes : -1;
  }

  close(): void {
    this.#closed();
    libc.close(this.#descriptor);
  }
}

function versionOf({ size, mtimeNs }: { size: number; mtimeNs: bigint }): string {
  return sizeTimeVersion(size, mtimeNs);
}
