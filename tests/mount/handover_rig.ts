import assert from "node:assert/strict";
import { join } from "node:path";
import { enableFailpoints } from "../../src/base/failpoint.ts";
import { cString, libc, O_NONBLOCK, O_RDWR, openFile, statPath } from "../../src/base/posix.ts";
import { negotiate, type Negotiated, writeInitOut } from "../../src/fuse/negotiation.ts";
import { resend } from "../../src/fuse/notify.ts";
import { OpenFiles } from "../../src/fuse/open_files.ts";
import { Operations } from "../../src/fuse/operations.ts";
import { INIT_OUT_BYTES, OPCODE, OUT_HEADER_BYTES } from "../../src/fuse/protocol.ts";
import { DEFERRED, Reply } from "../../src/fuse/reply.ts";
import { Namespace } from "../../src/library/namespace.ts";
import { NamespaceEdit } from "../../src/library/namespace_edit.ts";
import { ROOT_ID } from "../../src/library/node_id.ts";
import { DirectFiles } from "../../src/mount/direct_files.ts";
import { HandleLedgerFile } from "../../src/mount/handle_ledger.ts";
import { SharedCounters } from "../../src/mount/shared_counters.ts";
import { sizeTimeVersion } from "../../src/origins/size_time_version.ts";
import { MemoryIndex } from "../support/memory_index.ts";
import { detach } from "../support/mounts.ts";
import { run } from "../support/process.ts";
import { randomBytes } from "../support/sample_library.ts";
import { type SmallDisk, smallDisk } from "../support/small_disk.ts";
import { type TempDir, tempDir } from "../support/temp_dir.ts";

const REQUEST_BYTES_MAX = 1024 * 1024 + 4096;
const F_SETFL = 4;
const EIO = 5;
const EINVAL = 22;

/** Bytes of each file. */
export const FILE_BYTES = 100_000;

/** What a daemon is, as far as handles go. */
interface Life {
  ledger: HandleLedgerFile | undefined;
  operations: Operations;
  direct: DirectFiles;
}

/** Where a daemon is killed: before it does anything about a request, at a failpoint, unanswered. */
export type Death = "before" | "unanswered" | `handles.${string}`;

export interface RigOptions {
  passthrough: boolean;
  files?: number;
}

/**
 * A real mount of files on a disk of its own, served by the parts that know of handles, whose
 * daemon dies and is followed by another as the test wants it. Needs root.
 *
 * The descriptor stays open in between, as a supervisor keeps it. The test must not touch the mount:
 * other processes do.
 */
export class HandoverRig implements AsyncDisposable {
  readonly counters: SharedCounters = new SharedCounters();
  /** Asked for each request whether the daemon dies of it. */
  fate: (opcode: number) => Death | undefined = () => undefined;
  /** What the next life is started with, instead of what the first one was. */
  passthrough: boolean;
  /** Called between two lives. */
  between: () => void = () => undefined;
  deaths = 0;
  /** Requests that the worker left to the main thread; there is none here, so they get EIO. */
  deferred = 0;
  readonly #descriptor: number;
  readonly #index = new MemoryIndex();
  readonly #reply = new Reply({ uid: 0, gid: 0, umask: 0, ttlS: 60 });
  readonly #request = new Uint8Array(REQUEST_BYTES_MAX);
  #agreed: Negotiated | undefined;
  #life: Life;
  #isOver = false;
  readonly #serving: Promise<void>;

  private constructor(readonly dir: TempDir, readonly disk: SmallDisk, options: RigOptions) {
    this.passthrough = options.passthrough;
    this.#descriptor = openFile("/dev/fuse", O_RDWR);
    this.#fill();
    this.#life = this.#begin();
    const data = `fd=${this.#descriptor},rootmode=40555,user_id=0,group_id=0`;
    const type = cString("fuse.musicfs");
    const mounted = libc.mount(
      cString("musicfs"),
      cString(this.mountpoint),
      type,
      7n,
      cString(data),
    );
    assert.equal(mounted, 0, "mount(2)");
    this.#serving = this.#serve();
  }

  static async start(options: RigOptions): Promise<HandoverRig> {
    const dir = await tempDir("handover");
    const disk = await smallDisk(16 * 1024 * 1024);
    await Deno.mkdir(join(dir.path, "mnt"));
    for (let i = 0; i < (options.files ?? 4); i += 1) {
      await Deno.writeFile(join(disk.path, `${i}`), bytesOf(i));
    }
    return new HandoverRig(dir, disk, options);
  }

  get mountpoint(): string {
    return join(this.dir.path, "mnt");
  }

  get ledgerPath(): string {
    return join(this.dir.path, "session.handles");
  }

  /** Path of a file in the mount. */
  file(i: number): string {
    return join(this.mountpoint, `${i}`);
  }

  /** Whether it could be done: not while the kernel or a daemon has a file of the disk open. */
  async unmountDisk(): Promise<boolean> {
    const { code } = await run("umount", [this.disk.path]);
    return code === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await detach(this.mountpoint);
    this.#isOver = true;
    await this.#serving;
    this.#end(this.#life);
    libc.close(this.#descriptor);
    // The kernel may still have its files open: for a copy of the mount in another namespace.
    await detach(this.disk.path);
    await this.disk[Symbol.asyncDispose]();
    await this.dir[Symbol.asyncDispose]();
  }

  /**
   * Looks for requests each millisecond. A read that waits would not end with the mount: a process
   * in a mount namespace of its own, another test's, may have a copy of it.
   */
  async #serve(): Promise<void> {
    const request = this.#request;
    libc.fcntl(this.#descriptor, F_SETFL, BigInt(O_RDWR | O_NONBLOCK));
    while (!this.#isOver) {
      const length = libc.read(this.#descriptor, request, BigInt(request.length));
      if (length > 0) this.#handle(new DataView(request.buffer, 0, length));
      else await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  #handle(request: DataView): void {
    const opcode = request.getUint32(4, true);
    if (opcode === OPCODE.INIT) return this.#initialize(request);
    const death = this.fate(opcode);
    if (death === "before") return this.#die();
    let length: number;
    try {
      enableFailpoints(death?.startsWith("handles.") ? `${death}=1*panic(death)` : "", {
        random: () => 0,
        print: () => undefined,
      });
      length = this.#life.operations.answer(request);
    } catch (error) {
      assert(error instanceof Error && error.message === "death", String(error));
      return this.#die();
    } finally {
      enableFailpoints("", { random: () => 0, print: () => undefined });
    }
    if (death === "unanswered") return this.#die();
    if (length === DEFERRED) {
      this.deferred += 1;
      length = this.#reply.error(EIO);
    }
    if (length > 0) libc.write(this.#descriptor, this.#reply.bytes, BigInt(length));
  }

  #initialize(request: DataView): void {
    const { passthrough } = this;
    this.#reply.begin(request.getUint32(8, true), request.getUint32(12, true));
    this.#agreed = negotiate(request, { passthrough, readAheadBytes: 131_072 });
    if (this.#agreed) writeInitOut(this.#reply.view, OUT_HEADER_BYTES, this.#agreed);
    const length = this.#agreed ? this.#reply.done(INIT_OUT_BYTES) : this.#reply.error(EINVAL);
    libc.write(this.#descriptor, this.#reply.bytes, BigInt(length));
    this.#life.direct.allowPassthrough(this.#agreed?.passthrough === true);
  }

  /** One daemon's end, and the next one's beginning. */
  #die(): void {
    this.deaths += 1;
    this.#end(this.#life);
    this.between();
    this.#life = this.#begin();
    this.#ask();
  }

  /** As the session does before it reads. */
  #ask(): void {
    const message = resend();
    libc.write(this.#descriptor, message, BigInt(message.length));
  }

  #begin(): Life {
    const namespace = new Namespace(this.#index);
    const ledger = HandleLedgerFile.open(this.ledgerPath, {
      resumed: this.#agreed !== undefined,
      isNeeded: true,
    });
    const { passthrough, counters } = this;
    const direct = new DirectFiles({
      namespace,
      descriptor: this.#descriptor,
      directRoots: [{ origin: "disk", root: this.disk.path }],
      passthrough,
      ledger,
      counted: counters,
    });
    if (this.#agreed) direct.allowPassthrough(this.#agreed.passthrough);
    const files = new OpenFiles({
      namespace,
      reader: { read: () => -1 },
      direct,
      observer: { opened: () => undefined, released: () => undefined },
      counters,
      ledger,
      nonce: this.deaths + 1,
    });
    const operations = new Operations({
      namespace,
      files,
      reply: this.#reply,
      cacheFolders: true,
      answersUnlisted: false,
    });
    return { ledger, operations, direct };
  }

  /** Closes what a process closes that is killed. */
  #end({ ledger }: Life): void {
    ledger?.[Symbol.dispose]();
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      if (targetOf(name).startsWith(`${this.disk.path}/`)) libc.close(Number(name));
    }
  }

  /** The library: what lies on the disk. */
  #fill(): void {
    const index = this.#index;
    const origin = new TextEncoder().encode("disk");
    index.transaction(() => index.table("origins").put(Uint8Array.of(0, 1), origin));
    const namespace = new Namespace(index);
    const shared = { origin: 1, target: "", lastScan: 1 };
    NamespaceEdit.run({ index, namespace, nowMs: 1 }, (edit) => {
      const root = namespace.entry(ROOT_ID);
      assert(root);
      const folder = { kind: "folder", size: 0, mtimeNs: 5n, version: "", listed: true } as const;
      edit.setSources(root, [{ ...shared, ...folder }]);
      for (const { name } of Deno.readDirSync(this.disk.path)) {
        const status = statPath(join(this.disk.path, name));
        assert(typeof status !== "number");
        const { size, mtimeNs } = status;
        const version = sizeTimeVersion(size, mtimeNs);
        const file = { kind: "file", size, mtimeNs, version, listed: false } as const;
        edit.insert(ROOT_ID, name, { sources: [{ ...shared, ...file }], quiet: true });
      }
    });
  }
}

/** What a descriptor of this process names; "" if it is closed by now. */
function targetOf(descriptor: string): string {
  try {
    return Deno.readLinkSync(`/proc/self/fd/${descriptor}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** What file `i` holds. */
export function bytesOf(i: number): Uint8Array<ArrayBuffer> {
  return randomBytes(FILE_BYTES, i + 1);
}
