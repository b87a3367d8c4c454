import assert from "node:assert/strict";
import { KernelReadAhead } from "../../src/mount/kernel_read_ahead.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

const HEAD = { offset: 0, length: 65_536 };
const AHEAD = { offset: 65_536, length: 65_536 };
const TAIL = { offset: 20_000_000, length: 65_536 };

/** Nothing of the file is here, and nobody interrupts. */
const ALONE = { isHere: () => false, signal: new AbortController().signal };

/** A tag reader: head, what the kernel sends along, tail. Whether the kernel's READ was answered. */
async function scanned(ahead: KernelReadAhead, handle: number): Promise<boolean> {
  assert(await ahead.isWanted(handle, HEAD, ALONE));
  const kernels = ahead.isWanted(handle, AHEAD, ALONE);
  ahead.answered(handle, 0);
  assert(await ahead.isWanted(handle, TAIL, ALONE));
  ahead.released(handle);
  return await kernels;
}

Deno.test("KernelReadAhead refuses what the kernel reads ahead once readers are known not to use it", async () => {
  const ahead = new KernelReadAhead(new VirtualClock());
  const answered: boolean[] = [];
  for (let handle = 1; handle <= 6; handle += 1) answered.push(await scanned(ahead, handle));
  assert.deepEqual(answered, [true, true, true, false, false, false]);
});

Deno.test("KernelReadAhead counts a head alone, too", async () => {
  const ahead = new KernelReadAhead(new VirtualClock());
  for (let handle = 1; handle <= 4; handle += 1) {
    assert(await ahead.isWanted(handle, HEAD, ALONE));
    const kernels = ahead.isWanted(handle, AHEAD, ALONE);
    ahead.answered(handle, 0);
    ahead.released(handle);
    assert.equal(await kernels, handle <= 3);
  }
});

Deno.test("KernelReadAhead lets a reader who goes on wait for 20 ms at most, and then never again", async () => {
  const clock = new VirtualClock();
  const ahead = new KernelReadAhead(clock);
  for (let handle = 1; handle <= 4; handle += 1) await scanned(ahead, handle);

  await ahead.isWanted(5, HEAD, ALONE);
  const kernels = ahead.isWanted(5, AHEAD, ALONE);
  ahead.answered(5, 0);
  await clock.settle();
  assert.deepEqual(clock.sleeping, [20]);
  await clock.advance(20);
  assert(await kernels);
  await ahead.isWanted(5, { offset: 131_072, length: 65_536 }, ALONE);

  await ahead.isWanted(6, HEAD, ALONE);
  assert(await ahead.isWanted(6, AHEAD, ALONE), "was held, though the last reader went on");
  assert.deepEqual(clock.sleeping, []);
});

Deno.test("KernelReadAhead holds what comes right after the head was answered, too", async () => {
  const clock = new VirtualClock();
  const ahead = new KernelReadAhead(clock);
  for (let handle = 1; handle <= 4; handle += 1) await scanned(ahead, handle);
  await ahead.isWanted(5, HEAD, ALONE);
  ahead.answered(5, 0);
  const kernels = ahead.isWanted(5, AHEAD, ALONE);
  await ahead.isWanted(5, TAIL, ALONE);
  assert.equal(await kernels, false);
});

Deno.test("KernelReadAhead lets go when the reader is interrupted", async () => {
  const ahead = new KernelReadAhead(new VirtualClock());
  for (let handle = 1; handle <= 4; handle += 1) await scanned(ahead, handle);
  const controller = new AbortController();
  await ahead.isWanted(5, HEAD, ALONE);
  const kernels = Promise.resolve(
    ahead.isWanted(5, AHEAD, { ...ALONE, signal: controller.signal }),
  );
  controller.abort(new Error("interrupted"));
  await assert.rejects(kernels, /interrupted/);
});

Deno.test("KernelReadAhead holds what follows a head that is here, and drops it if the tail is read", async () => {
  const clock = new VirtualClock();
  const ahead = new KernelReadAhead(clock);
  const asked: unknown[] = [];
  const isHere = (range: unknown): boolean => asked.push(range) > 0;
  const kernels = ahead.isWanted(1, AHEAD, { ...ALONE, isHere });
  assert.deepEqual(asked, [{ offset: 65_536 - 16_384, length: 16_384 }]);
  ahead.wentElsewhere(1);
  assert.equal(await kernels, false);

  const player = ahead.isWanted(2, AHEAD, { ...ALONE, isHere });
  await clock.settle();
  await clock.advance(20);
  assert(await player);
});

Deno.test("KernelReadAhead never holds a seek", () => {
  const ahead = new KernelReadAhead(new VirtualClock());
  assert.equal(ahead.isWanted(1, TAIL, ALONE), true);
});
