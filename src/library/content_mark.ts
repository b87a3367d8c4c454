/**
 * What makes it likely that two files of one origin have the same content, without reading them:
 * their size, and their version: the time of the last change in ns, or an object's ETag. Pure.
 */

import type { EntrySource } from "./entry.ts";

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** A u32 that is the same for files with the same mark; the same for few others. FNV-1a. */
export function markOf({ size, version }: Pick<EntrySource, "size" | "version">): number {
  const text = `${size} ${version}`;
  let hash = FNV_OFFSET;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), FNV_PRIME);
  }
  return hash >>> 0;
}

/** Whether both are files that are the same, but for their names. */
export function haveSameMark(a: EntrySource, b: EntrySource): boolean {
  return a.kind === "file" && b.kind === "file" && a.origin === b.origin && a.size === b.size &&
    a.version === b.version;
}
