/** Reads replies by the kernel's own layout (`tests/golden/fuse_layout.json`), not by ours. */
import layout from "../golden/fuse_layout.json" with { type: "json" };

type Layouts = typeof layout;

/** Sizes of the kernel's structures in bytes. */
export function sizeOf(struct: keyof Layouts): number {
  return layout[struct].sizeof;
}

/** Offset of a member in bytes. */
export function offsetOf(struct: keyof Layouts, member: string): number {
  const members: Record<string, number> = layout[struct];
  const offset = members[member];
  if (offset === undefined) throw new Error(`${struct} has no member ${member} in the layout`);
  return offset;
}

/** Members of one structure in a message, read at their places. */
export class StructView {
  readonly #view: DataView;

  constructor(bytes: Uint8Array, readonly struct: keyof Layouts, readonly at: number) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u64(member: string): bigint {
    return this.#view.getBigUint64(this.at + offsetOf(this.struct, member), true);
  }
  u32(member: string): number {
    return this.#view.getUint32(this.at + offsetOf(this.struct, member), true);
  }
  i32(member: string): number {
    return this.#view.getInt32(this.at + offsetOf(this.struct, member), true);
  }
  u16(member: string): number {
    return this.#view.getUint16(this.at + offsetOf(this.struct, member), true);
  }
}
