import { checked, cString, libc, O_RDWR, openFile } from "../../src/base/posix.ts";

const MNT_DETACH = 2;
const INIT = 26;
const STATFS = 17;
const ENOSYS = 38;
const HEADER_OUT_BYTES = 16;
const REQUEST_BYTES_MAX = 1024 * 1024 + 4096;

/** A mount that looks like one of ours, and whose daemon is as the test wants it. Needs root. */
export class FakeMount implements AsyncDisposable {
  #descriptor: number;
  #serving: Promise<void> | undefined;

  constructor(readonly path: string, options: { type?: string; uid?: number } = {}) {
    const { type = "fuse.musicfs", uid = 0 } = options;
    this.#descriptor = openFile("/dev/fuse", O_RDWR);
    const data = `fd=${this.#descriptor},rootmode=40000,user_id=${uid},group_id=${uid}`;
    const [source, flags] = [cString("musicfs"), 7n];
    const result = checked(libc.mount(source, cString(path), cString(type), flags, cString(data)));
    if (result < 0) throw new Error(`Cannot mount at ${path}: errno ${-result}`);
  }

  /** Nobody holds the descriptor any more: every request gets ENOTCONN. */
  die(): void {
    if (this.#descriptor >= 0) libc.close(this.#descriptor);
    this.#descriptor = -1;
  }

  /** Answers INIT and STATFS from now on, and everything else with ENOSYS. */
  live(): void {
    this.#serving = this.#serve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await libc.umount2(cString(this.path), MNT_DETACH);
    await this.#serving;
    this.die();
  }

  async #serve(): Promise<void> {
    const request = new Uint8Array(REQUEST_BYTES_MAX);
    const view = new DataView(request.buffer);
    for (;;) {
      const n = await libc.preadWaiting(this.#descriptor, request, BigInt(request.length), 0n);
      if (n < 0) return; // Unmounted.
      const opcode = view.getUint32(4, true);
      const body = opcode === INIT ? initReply() : new Uint8Array(opcode === STATFS ? 80 : 0);
      const reply = new Uint8Array(HEADER_OUT_BYTES + body.length);
      const out = new DataView(reply.buffer);
      out.setUint32(0, reply.length, true);
      out.setInt32(4, opcode === INIT || opcode === STATFS ? 0 : -ENOSYS, true);
      out.setBigUint64(8, view.getBigUint64(8, true), true);
      reply.set(body, HEADER_OUT_BYTES);
      libc.write(this.#descriptor, reply, BigInt(reply.length));
    }
  }
}

/** `struct fuse_init_out`, 64 bytes: version 7.31, no flags. */
function initReply(): Uint8Array {
  const body = new Uint8Array(64);
  const view = new DataView(body.buffer);
  view.setUint32(0, 7, true);
  view.setUint32(4, 31, true);
  return body;
}
