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
import { descriptorsFor } from "../base/descriptor_limit.ts";
import { failpoint } from "../base/failpoint.ts";
import type { DirectFile, DirectOpener } from "../fuse/open_files.ts";
import { IOCTL_BACKING_CLOSE, IOCTL_BACKING_OPEN } from "../fuse/protocol.ts";
import type { Namespace } from "../library/namespace.ts";
import { OPEN_HOW_BYTES, OPENAT2, openHow } from "../origins/open_beneath.ts";
import { sizeTimeVersion } from "../origins/size_time_version.ts";
import type { HandleLedgerFile } from "./handle_ledger.ts";
import type { SharedCounters } from "./shared_counters.ts";

/** What direct files are opened with. */
export interface DirectFilesOptions {
  namespace: Namespace;
  /** The `/dev/fuse` descriptor, which backing files are told to. */
  descriptor: number;
  directRoots: readonly { origin: string; root: string }[];
  passthrough: boolean;
  /** Without it the kernel reads nothing by itself. */
  ledger: HandleLedgerFile | undefined;
  counted: SharedCounters;
}

/** Backing ids that killed predecessors may have left, one each, and are looked for. */
const LOST_IDS_MAX = 64;

/**
 * Opens files of local disks themselves, for origins whose bytes are not cached; where the kernel
 * allows it, the kernel then reads them without asking.
 */
export class DirectFiles implements DirectOpener {
  readonly #namespace: Namespace;
  readonly #descriptor: number;
  readonly #roots: ReadonlyMap<string, string>;
  readonly #how = openHow();
  readonly #ledger: HandleLedgerFile | undefined;
  readonly #wantsPassthrough: boolean;
  readonly #counters: SharedCounters;
  /** Files that are opened beyond that many go by the cache. */
  readonly #descriptorsMax = descriptorsFor("direct");
  #descriptors = 0;
  #passthrough = false;

  constructor(options: DirectFilesOptions) {
    this.#namespace = options.namespace;
    this.#descriptor = options.descriptor;
    this.#counters = options.counted;
    this.#roots = new Map(options.directRoots.map(({ origin, root }) => [origin, root]));
    this.#ledger = options.ledger;
    this.#wantsPassthrough = options.passthrough;
  }

  /**
   * Says what INIT agreed on. Where it is not known of every open node how it is open, the kernel
   * gets no more files: it would refuse one that is open in another way.
   */
  allowPassthrough(allowed: boolean): void {
    if (!allowed || this.#ledger?.isWhole !== true) return;
    this.#closeLost(this.#ledger);
    this.#passthrough = this.#wantsPassthrough;
  }

  open(
    version: number,
    { mayPassThrough }: { mayPassThrough: boolean },
  ): DirectFile | "cached" | "deferred" {
    if (this.#roots.size === 0) return "cached";
    const source = this.#namespace.version(version)?.sources[0];
    const root = source && this.#roots.get(source.origin);
    if (source === undefined || root === undefined) return "cached";
    if (this.#descriptors >= this.#descriptorsMax) return "cached";
    const descriptor = this.#openBeneath(root, source.path);
    if (descriptor < 0) return "deferred";
    const status = statDescriptor(descriptor);
    if (typeof status === "number" || versionOf(status) !== source.version) {
      libc.close(descriptor);
      return "deferred";
    }
    const backingId = mayPassThrough && this.#passthrough ? this.#openBacking(descriptor) : 0;
    // No privilege, or a filesystem that cannot stand below another: it will not get better.
    if (backingId < 0) this.#passthrough = false;
    if (backingId > 0) this.#counters.passthroughOpens += 1;
    this.#descriptors += 1;
    failpoint("handles.backing_opened");
    return new OpenedDirectly(descriptor, {
      version: source.version,
      backingId: Math.max(0, backingId),
      onClose: () => this.#descriptors -= 1,
    });
  }

  closeBacking(backingId: number): void {
    this.#tryToCloseBacking(backingId);
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

  /** @returns the kernel's id, or `-errno`: then reads come to us, slower and just as right */
  #openBacking(descriptor: number): number {
    const map = new Uint8Array(16);
    new DataView(map.buffer).setInt32(0, descriptor, true);
    return checked(libc.ioctl(this.#descriptor, IOCTL_BACKING_OPEN, map));
  }

  /** Whether there was such an id. */
  #tryToCloseBacking(id: number): boolean {
    const value = new Uint8Array(4);
    new DataView(value.buffer).setInt32(0, id, true);
    return libc.ioctl(this.#descriptor, IOCTL_BACKING_CLOSE, value) === 0;
  }

  /**
   * Closes what predecessors were given right before they were killed, and could not note.
   *
   * The kernel counts ids up, so they come right before the next one. Whatever is closed here is in
   * no ledger, so no reply to an OPEN has named it.
   */
  #closeLost({ descriptor, inherited }: HandleLedgerFile): void {
    const noted = new Set(inherited.map((note) => note.backingId));
    const next = this.#openBacking(descriptor);
    if (next <= 0) return;
    this.#tryToCloseBacking(next);
    const end = next - LOST_IDS_MAX;
    for (let id = next - 1; id > 0 && id >= end && !noted.has(id); id -= 1) {
      if (!this.#tryToCloseBacking(id)) break;
    }
  }
}

class OpenedDirectly implements DirectFile {
  readonly backingId: number;
  readonly #descriptor: number;
  readonly #version: string;
  readonly #onClose: () => void;

  constructor(
    descriptor: number,
    { version, backingId, onClose }: { version: string; backingId: number; onClose: () => void },
  ) {
    this.#descriptor = descriptor;
    this.#version = version;
    this.#onClose = onClose;
    this.backingId = backingId;
  }

  /** Looks at the file's times after reading: an edit in place must not be served as the old one. */
  read(offset: number, into: Uint8Array<ArrayBuffer>): number {
    const bytes = preadFully(this.#descriptor, into, offset);
    const status = statDescriptor(this.#descriptor);
    const same = typeof status !== "number" && versionOf(status) === this.#version;
    return same ? bytes : -1;
  }

  close(): void {
    libc.close(this.#descriptor);
    this.#onClose();
  }
}

function versionOf({ size, mtimeNs }: { size: number; mtimeNs: bigint }): string {
  return sizeTimeVersion(size, mtimeNs);
}
