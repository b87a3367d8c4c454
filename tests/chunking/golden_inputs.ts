/** The inputs of tests/golden/fastcdc_rust/src/main.rs, made from the same rules. */

const WORDS =
  "allegro adagio andante presto largo vivace moderato scherzo rondo fugue prelude sonata etude nocturne waltz minuet"
    .split(" ");

const MIXED_BLOCK_BYTES = 100_003;

export type InputKind = "zeros" | "ones" | "text" | "random" | "mixed";

/** mulberry32: a state of 32 bits, 32 bits a step. */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** Bytes of mulberry32: each step gives four, the least significant first. */
export function randomBytes(seed: number, length: number): Uint8Array<ArrayBuffer> {
  const next = mulberry32(seed);
  const bytes = new Uint8Array(Math.ceil(length / 4) * 4);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < length; at += 4) view.setUint32(at, next(), true);
  return bytes.subarray(0, length);
}

export function inputOf(kind: InputKind, length: number): Uint8Array<ArrayBuffer> {
  const seed = length + 1;
  if (kind === "zeros") return new Uint8Array(length);
  if (kind === "ones") return new Uint8Array(length).fill(0xff);
  if (kind === "text") return wordsOf(seed, length);
  if (kind === "random") return randomBytes(seed, length);
  const block = MIXED_BLOCK_BYTES;
  return cycled([randomBytes(seed, block), new Uint8Array(block), wordsOf(seed, block)], length);
}

/** Words picked by the top four bits of a step, each followed by a space. */
function wordsOf(seed: number, length: number): Uint8Array<ArrayBuffer> {
  const next = mulberry32(seed);
  const words: string[] = [];
  for (let chars = 0; chars < length;) {
    const word = `${WORDS[next() >>> 28]} `;
    words.push(word);
    chars += word.length;
  }
  return new TextEncoder().encode(words.join("").slice(0, length));
}

function cycled(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (let turn = 0; at < length; turn += 1) {
    const part = (parts[turn % parts.length] ?? bytes).subarray(0, length - at);
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
