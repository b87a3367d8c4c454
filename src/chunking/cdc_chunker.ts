/**
 * Where a file is cut into chunks: FastCDC, the 2020 algorithm with level-1 normalisation and a
 * gear hash of 64 bits. Cut points are those of the Rust crate `fastcdc`, module v2020
 * (tests/golden/README.md), so that other programs find the same chunks in the same bytes.
 *
 * The loop is WebAssembly, because a 64-bit shift is eleven times dearer in JavaScript. Its text
 * is `fastcdc.wat`; the 323 bytes it assembles to stand below, so that they are in the executable.
 */

import { createHash } from "node:crypto";
import { MusicfsError } from "../base/errors.ts";
import { type ChunkSizes, DEFAULT_CHUNK_SIZES } from "./chunk_sizes.ts";

/** `fastcdc.wat`, assembled; tests/chunking/fastcdc_wat_test.ts assembles it anew and compares. */
export const FASTCDC_WASM_BASE64 =
  "AGFzbQEAAAABDgFgCX9/f39/fn5+fgF/AwIBAAUDAQACBxACBm1lbW9yeQIAA2N1dAAACo0CAYoCAgF+BH8gASACTQRA" +
  "IAEPCyADIQ0gASAESwRAIAQhAQUgASANSQRAIAEhDQsLIAAgAkF+cWohCiAAIA1BfnFqIQsCQCAKIAtPDQADQCAJQgKG" +
  "IAotAABBA3QpA4AQfCEJIAkgB4NQBEAgCiAAaw8LIAkgCi0AAUEDdCkDAHwhCSAJIAWDUARAIAogAGtBAWoPCyAKQQJq" +
  "IgogC0kNAAsLIAAgAUF+cWohCwJAIAogC08NAANAIAlCAoYgCi0AAEEDdCkDgBB8IQkgCSAIg1AEQCAKIABrDwsgCSAK" +
  "LQABQQN0KQMAfCEJIAkgBoNQBEAgCiAAa0EBag8LIApBAmoiCiALSQ0ACwsgAQs=";

/** Bytes of the window: one origin read of the longest kind (base/limits.ts) fits. */
export const WINDOW_BYTES = 4 * 1024 * 1024;

const PAGE_BYTES = 64 * 1024;

/** In the memory: 256 u64 of the gear table, the same shifted left by one, then the window. */
const GEAR_SHIFTED_AT = 2048;
const WINDOW_AT = 4096;

/** Sum of the gear table modulo 2^64, of crate fastcdc 5.0.0. */
const GEAR_SUM = 0xf45df2ad26aa4f69n;

/** `MASKS` of the crate, by the base-2 logarithm of the average size; 5 to 25. */
const MASKS: readonly bigint[] = [
  0x0000000001804110n,
  0x0000000001803110n,
  0x0000000018035100n,
  0x0000001800035300n,
  0x0000019000353000n,
  0x0000590003530000n,
  0x0000d90003530000n,
  0x0000d90103530000n,
  0x0000d90303530000n,
  0x0000d90313530000n,
  0x0000d90f03530000n,
  0x0000d90303537000n,
  0x0000d90703537000n,
  0x0000d90707537000n,
  0x0000d91707537000n,
  0x0000d91747537000n,
  0x0000d91767537000n,
  0x0000d93767537000n,
  0x0000d93777537000n,
  0x0000d93777577000n,
  0x0000db3777577000n,
];
const MASKS_FIRST_BITS = 5;

/** `cut` of fastcdc.wat: the length of the first chunk of the `length` bytes at address `at`. */
type WasmCut = (
  at: number,
  length: number,
  min: number,
  average: number,
  max: number,
  maskStrict: bigint,
  maskLoose: bigint,
  maskStrictShifted: bigint,
  maskLooseShifted: bigint,
) => number;

/**
 * Cuts bytes into chunks. Everything is synchronous, and nothing of one call is kept for the next
 * but what lies in `window`. An instance takes 4.1 MiB of address space and 1 ms to make.
 */
export class CdcChunker {
  readonly sizes: ChunkSizes;
  /**
   * Memory that `cut` works on; read into it directly and a copy is saved. It never moves or
   * grows, so views of it stay good. Whoever calls a method that takes bytes loses what is in it.
   */
  readonly window: Uint8Array<ArrayBuffer>;
  readonly #cut: WasmCut;
  readonly #strict: bigint;
  readonly #loose: bigint;
  readonly #strictShifted: bigint;
  readonly #looseShifted: bigint;

  /** Throws `invalid` for sizes that the algorithm cannot do. */
  constructor(sizes: ChunkSizes = DEFAULT_CHUNK_SIZES) {
    checkSizes(sizes);
    this.sizes = sizes;
    const bits = Math.log2(sizes.average) - MASKS_FIRST_BITS;
    this.#strict = MASKS[bits + 1] ?? 0n;
    this.#loose = MASKS[bits - 1] ?? 0n;
    this.#strictShifted = this.#strict << 1n;
    this.#looseShifted = this.#loose << 1n;
    const module = new WebAssembly.Module(Uint8Array.fromBase64(FASTCDC_WASM_BASE64));
    const { memory, cut } = new WebAssembly.Instance(module).exports;
    if (!(memory instanceof WebAssembly.Memory)) throw new TypeError("fastcdc.wat has no memory");
    const pages = Math.ceil((WINDOW_AT + WINDOW_BYTES) / PAGE_BYTES);
    memory.grow(pages - memory.buffer.byteLength / PAGE_BYTES);
    const { buffer } = memory;
    if (!(buffer instanceof ArrayBuffer)) throw new TypeError("fastcdc.wat shares its memory");
    writeGear(new DataView(buffer));
    this.window = new Uint8Array(buffer, WINDOW_AT, WINDOW_BYTES);
    this.#cut = cut as WasmCut;
  }

  /**
   * The length of the first chunk of `window[offset, offset + length)`; 0 if `length` is 0.
   *
   * Those must be at least `sizes.max` bytes, or all that is left of the region: with less the
   * chunk may end where the bytes do, and that is no cut point. `cutAll` minds this by itself.
   */
  cut(offset: number, length: number): number {
    if (!(offset >= 0 && length >= 0 && offset + length <= WINDOW_BYTES)) {
      throw new RangeError(`Cannot cut ${length} bytes at ${offset}: not inside the window`);
    }
    const { min, average, max } = this.sizes;
    return this.#cut(
      WINDOW_AT + offset,
      length,
      min,
      average,
      max,
      this.#strict,
      this.#loose,
      this.#strictShifted,
      this.#looseShifted,
    );
  }

  /**
   * The lengths of the chunks of `window[0, length)`, which starts at a cut point, in order.
   *
   * With `last` the bytes are all that is left of the region, and the chunks cover them. Without,
   * fewer than `sizes.max` bytes remain after the last chunk: they belong before what comes next.
   */
  cutAll(length: number, { last }: { last: boolean }): number[] {
    const lengths: number[] = [];
    const enough = last ? 1 : this.sizes.max;
    let offset = 0;
    while (length - offset >= enough) {
      const chunk = this.cut(offset, length - offset);
      lengths.push(chunk);
      offset += chunk;
    }
    return lengths;
  }

  /** The lengths of the chunks of a whole region, of any length, in order. Overwrites `window`. */
  chunkLengths(bytes: Uint8Array): number[] {
    return this.chunkLengthsOf([bytes]);
  }

  /** As `chunkLengths`, of the bytes of `slices` one after another; how they are sliced is all one. */
  chunkLengthsOf(slices: Iterable<Uint8Array>): number[] {
    const lengths: number[] = [];
    let filled = 0;
    for (const slice of slices) {
      let taken = 0;
      while (taken < slice.length) {
        const part = slice.subarray(taken, taken + WINDOW_BYTES - filled);
        this.window.set(part, filled);
        taken += part.length;
        filled += part.length;
        if (filled === WINDOW_BYTES) filled = this.#drain(lengths);
      }
    }
    for (const length of this.cutAll(filled, { last: true })) lengths.push(length);
    return lengths;
  }

  /** Cuts a full window and moves the rest to its start; the number of bytes that remain. */
  #drain(lengths: number[]): number {
    let cut = 0;
    for (const length of this.cutAll(WINDOW_BYTES, { last: false })) {
      lengths.push(length);
      cut += length;
    }
    this.window.copyWithin(0, cut);
    return WINDOW_BYTES - cut;
  }
}

function checkSizes({ min, average, max }: ChunkSizes): void {
  const even = [min, average, max].every((size) => Number.isInteger(size) && size % 2 === 0);
  const bits = Math.log2(average);
  // The limits of the masks: average sizes of 256 bytes to 4 MiB, as in the crate.
  const possible = Number.isInteger(bits) && bits >= 8 && bits <= 22;
  if (even && possible && min >= 64 && min <= average && average <= max && max <= WINDOW_BYTES) {
    return;
  }
  throw new MusicfsError(
    "invalid",
    `Cannot cut chunks of ${min}/${average}/${max} bytes: sizes must be even and in this order, ` +
      "the average a power of two from 256 bytes to 4 MiB",
    { op: "chunker.open", subject: `${min}/${average}/${max}` },
  );
}

/**
 * Writes both gear tables. `GEAR[i]` is the first 8 bytes, read as a big-endian number, of the MD5
 * of 64 bytes `i`: the crate's own recipe, in its documentation of `GEAR`.
 */
function writeGear(memory: DataView<ArrayBuffer>): void {
  let sum = 0n;
  const block = new Uint8Array(64);
  for (let i = 0; i < 256; i += 1) {
    const gear = createHash("md5").update(block.fill(i)).digest().readBigUInt64BE(0);
    sum += gear;
    memory.setBigUint64(i * 8, gear, true);
    memory.setBigUint64(GEAR_SHIFTED_AT + i * 8, gear << 1n, true);
  }
  if (BigInt.asUintN(64, sum) === GEAR_SUM) return;
  throw new Error("The gear table is wrong: this machine's MD5 gives other digests than MD5 does");
}
