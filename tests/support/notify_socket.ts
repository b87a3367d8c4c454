/**
 * The receiving end of `sd_notify`: a test waits for `READY=1` as systemd does, instead of sleeping,
 * and keeps the descriptors that a service stores (`FDSTORE=1`).
 *
 * Deno offers datagram sockets only behind an unstable flag, so these are libc's.
 */

import { receiveMessage } from "../../src/base/descriptors.ts";

const libc = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  sendto: {
    parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"],
    result: "isize",
  },
}).symbols;

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MESSAGE_BYTES_MAX = 4096;

/** What ends `receive()` when the socket is closed: no service says this. */
const CLOSE = "X_MUSICFS_TEST_CLOSE=1";

/** A socket for `NOTIFY_SOCKET`, and what came over it. */
export class NotifySocket implements AsyncDisposable {
  /** Every line received, in order: `READY=1`, `STATUS=…`. */
  readonly lines: string[] = [];
  #stored: number | undefined;
  readonly #descriptor: number;
  readonly #receiving: Promise<void>;
  #wake: (() => void)[] = [];
  #isOpen = true;

  /** Binds to `path`, at most 107 bytes; removed with the folder it lies in. */
  constructor(readonly path: string) {
    this.#descriptor = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (this.#descriptor < 0) throw new Error("No socket");
    const address = socketAddress(path);
    if (libc.bind(this.#descriptor, address, address.length) !== 0) {
      libc.close(this.#descriptor);
      throw new Error(`Cannot bind ${path}`);
    }
    Deno.chmodSync(path, 0o777);
    this.#receiving = this.#receive();
  }

  /** Resolves when `line` has been received; never, if it does not come: race it. */
  async saw(line: string): Promise<void> {
    while (!this.lines.includes(line)) {
      if (!this.#isOpen) throw new Error(`Closed before ${line}`);
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** Gives away the descriptor that the service stored last and did not remove; the caller's own. */
  takeStored(): number | undefined {
    const stored = this.#stored;
    this.#stored = undefined;
    return stored;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#store(undefined);
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#sendToItself(CLOSE);
    await this.#receiving;
    libc.close(this.#descriptor);
    this.#wakeAll();
  }

  async #receive(): Promise<void> {
    while (true) {
      const message = await receiveMessage(this.#descriptor, MESSAGE_BYTES_MAX);
      if (message === undefined) throw new Error(`Cannot receive on ${this.path}`);
      const text = new TextDecoder().decode(message.bytes);
      if (text === CLOSE) return;
      if (message.descriptor !== undefined) this.#store(message.descriptor);
      if (text.includes("FDSTOREREMOVE=1")) this.#store(undefined);
      this.lines.push(...text.split("\n").filter((line) => line !== ""));
      this.#wakeAll();
    }
  }

  #store(descriptor: number | undefined): void {
    if (this.#stored !== undefined) libc.close(this.#stored);
    this.#stored = descriptor;
  }

  #wakeAll(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  #sendToItself(text: string): void {
    const bytes = new TextEncoder().encode(text);
    const address = socketAddress(this.path);
    const sent = libc.sendto(
      this.#descriptor,
      bytes,
      BigInt(bytes.length),
      0,
      address,
      address.length,
    );
    if (Number(sent) !== bytes.length) throw new Error(`Cannot send to ${this.path}`);
  }
}

/** `struct sockaddr_un`, with the path's NUL. Source: unix(7). */
function socketAddress(path: string): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(path);
  if (name.length > 107) throw new Error(`Too long for a socket: ${path}`);
  const address = new Uint8Array(2 + name.length + 1);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  return address;
}
