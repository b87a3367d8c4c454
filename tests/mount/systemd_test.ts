import assert from "node:assert/strict";
import { addressOf, libc } from "../../src/base/posix.ts";
import { sdNotify } from "../../src/mount/systemd.ts";
import { NotifySocket } from "../support/notify_socket.ts";
import { tempDir } from "../support/temp_dir.ts";

Deno.test("sdNotify() reaches a socket with a path", async () => {
  await using dir = await tempDir("notify");
  await using socket = new NotifySocket(`${dir.path}/notify`);
  assert(sdNotify("READY=1\nSTATUS=Mounted", { socket: socket.path }));
  await socket.saw("STATUS=Mounted");
  assert.deepEqual(socket.lines, ["READY=1", "STATUS=Mounted"]);
});

Deno.test("sdNotify() reaches an abstract socket and hands descriptors over", async () => {
  const name = `@musicfs-test-${crypto.randomUUID()}`;
  const receiver = bindAbstract(name);
  try {
    const [text, bytes] = await sendAndReceive(name, receiver);
    assert.equal(text, "FDSTORE=1");
    const control = new DataView(bytes.buffer);
    assert.equal(control.getBigUint64(0, true), 20n);
    const received = control.getInt32(16, true);
    assert.equal(
      await Deno.readLink(`/proc/self/fd/${received}`),
      await Deno.readLink("/proc/self/fd/0"),
    );
    libc.close(received);
  } finally {
    libc.close(receiver);
  }
});

Deno.test("sdNotify() says false where nobody listens, and throws nothing", () => {
  const long = `/${"x".repeat(200)}`;
  for (const socket of [undefined, "", "relative", "/nonexistent/notify", "@nobody-here", long]) {
    assert.equal(sdNotify("READY=1", { socket }), false);
  }
});

function bindAbstract(name: string): number {
  const library = Deno.dlopen("libc.so.6", {
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  });
  const descriptor = libc.socket(1, 2 | 0o2000000, 0);
  const address = new Uint8Array(2 + name.length);
  address[0] = 1;
  address.set(new TextEncoder().encode(name.slice(1)), 3);
  assert.equal(library.symbols.bind(descriptor, address, address.length), 0);
  library.close();
  return descriptor;
}

/** Sends descriptor 0 with a message, and gives the text and the control part that arrived. */
async function sendAndReceive(
  name: string,
  receiver: number,
): Promise<[string, Uint8Array<ArrayBuffer>]> {
  assert(sdNotify("FDSTORE=1", { socket: name, descriptors: [0] }));
  const data = new Uint8Array(256);
  const control = new Uint8Array(64);
  const vector = new Uint8Array(new BigUint64Array([addressOf(data), 256n]).buffer);
  const header = new BigUint64Array([0n, 0n, addressOf(vector), 1n, addressOf(control), 64n, 0n]);
  const n = await libc.recvmsg(receiver, new Uint8Array(header.buffer), 0);
  assert(n > 0 && vector.length === 16);
  return [new TextDecoder().decode(data.subarray(0, n)), control];
}
