import type { FileVersion } from "./file_version.ts";

/** Versions that are remembered: as many as may have been read before and be read on. */
const VERSIONS_MAX = 4096;

/**
 * Versions whose files lie under another key by now: another origin, proven to hold the same bytes,
 * is the preferred one. Whoever still holds a version as it was would make new files under its old
 * key.
 */
export class TakenOver {
  /** By what the version was, in order of time. */
  readonly #after = new Map<string, FileVersion>();

  /** Notes that `before` is `after` now. */
  note(before: FileVersion, after: FileVersion): void {
    const name = nameOf(before);
    this.#after.delete(nameOf(after));
    this.#after.delete(name);
    if (name === nameOf(after)) return;
    this.#after.set(name, after);
    if (this.#after.size <= VERSIONS_MAX) return;
    for (const oldest of this.#after.keys()) {
      this.#after.delete(oldest);
      return;
    }
  }

  /** The version as it is now; the same object if nothing took it over. */
  current(version: FileVersion): FileVersion {
    let current = version;
    // There is no circle: what a version came back to is not among the names any more.
    while (this.#after.size > 0) {
      const after = this.#after.get(nameOf(current));
      if (!after) break;
      current = after;
    }
    return current;
  }
}

function nameOf({ id, sources: [{ origin, path, version }] }: FileVersion): string {
  return `${id}\0${origin}\0${path}\0${version}`;
}
