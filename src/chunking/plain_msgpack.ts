/**
 * Whether `bytes` are one msgpack value of arrays, strings, binaries and integers, all of it there.
 *
 * Looked at before the decoder is: it would make room for as many elements as a damaged count
 * promises (256 MB and 0.4 s for a few wrong bytes), and follows msgpack extensions into regular
 * expressions, errors and references. O(n), no allocation. Source: msgpack's spec.md.
 */
export function isPlainMsgpack(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  // Values that must still follow; each takes one byte or more.
  let owed = 1;
  while (owed > 0) {
    if (owed > bytes.length - at) return false;
    const token = bytes[at] ?? 0;
    const head = headBytes(token);
    if (head === 0 || at + head > bytes.length) return false;
    const count = countOf(token, view, at + 1);
    owed += isArray(token) ? count - 1 : -1;
    at += head + (isArray(token) ? 0 : count);
  }
  return at === bytes.length;
}

/** Bytes of a token with the number after it; 0 for types that no format of ours has. */
function headBytes(token: number): number {
  if (token <= 0x7f || token >= 0xe0) return 1; // fixint
  if (token >= 0x90 && token <= 0xbf) return 1; // fixarray, fixstr
  switch (token) {
    case 0xc4: // bin 8
    case 0xcc: // uint 8
    case 0xd0: // int 8
    case 0xd9: // str 8
      return 2;
    case 0xc5: // bin 16
    case 0xcd: // uint 16
    case 0xd1: // int 16
    case 0xda: // str 16
    case 0xdc: // array 16
      return 3;
    case 0xc6: // bin 32
    case 0xce: // uint 32
    case 0xd2: // int 32
    case 0xdb: // str 32
    case 0xdd: // array 32
      return 5;
    case 0xcf: // uint 64
    case 0xd3: // int 64
      return 9;
    default:
      return 0;
  }
}

function isArray(token: number): boolean {
  return (token >= 0x90 && token <= 0x9f) || token === 0xdc || token === 0xdd;
}

/** What is counted behind a token: an array's elements, the bytes of a string or binary. */
function countOf(token: number, view: DataView, at: number): number {
  if (token >= 0x90 && token <= 0x9f) return token & 0x0f;
  if (token >= 0xa0 && token <= 0xbf) return token & 0x1f;
  if (token === 0xc4 || token === 0xd9) return view.getUint8(at);
  if (token === 0xc5 || token === 0xda || token === 0xdc) return view.getUint16(at);
  if (token === 0xc6 || token === 0xdb || token === 0xdd) return view.getUint32(at);
  return 0;
}
