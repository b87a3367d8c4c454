/**
 * A version that an open handle may still name, in the table `superseded`: u16 bytes of its path,
 * the path, and the entry's record. The folders on the path may be gone, so it is kept whole.
 */

import { type Entry } from "./entry.ts";
import { decodeEntry, encodeEntry } from "./entry_record.ts";
import { entryIdOf } from "./node_id.ts";

/** An entry as it was, and where. */
export interface Superseded {
  path: string;
  entry: Entry;
}

export function encodeSuperseded({ path, entry }: Superseded): Uint8Array {
  const pathBytes = new TextEncoder().encode(path);
  const record = encodeEntry(entry);
  const bytes = new Uint8Array(2 + pathBytes.length + record.length);
  new DataView(bytes.buffer).setUint16(0, pathBytes.length);
  bytes.set(pathBytes, 2);
  bytes.set(record, 2 + pathBytes.length);
  return bytes;
}

export function decodeSuperseded(nodeId: number, bytes: Uint8Array): Superseded {
  const end = 2 + new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint16(0);
  return {
    path: new TextDecoder().decode(bytes.subarray(2, end)),
    entry: decodeEntry(entryIdOf(nodeId), bytes.subarray(end)),
  };
}
