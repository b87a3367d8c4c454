/**
 * Paths that are kept for offline use.
 *
 * In a file of its own and not in the index: that may be rebuilt from what is cached, and no chunk
 * tells what somebody wanted to keep.
 */

import * as v from "valibot";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";

/** Name of the file in the cache folder. */
export const PINS_FILE = "pins.json";

/** One path that was pinned. */
export interface Pin {
  /** In the tree, without a `/` at its ends; "" for all of it. */
  readonly path: string;
  /** When, in ms since 1970. */
  readonly sinceMs: number;
}

const FileSchema = v.object({
  format: v.literal(1),
  pins: v.array(v.object({ path: v.string(), since_ms: v.number() })),
});

/** The pins of one cache, whose lock the caller holds. There is one of these for a cache. */
export class Pins {
  readonly #cacheDir: string;
  readonly #listeners = new Set<() => void>();
  #pins = new Map<string, Pin>();

  /**
   * Reads the file. One that makes no sense is set aside as `pins.json.bad` and logged: better
   * nothing pinned than no mount.
   */
  static open(cacheDir: string, log: Log): Pins {
    const pins = new Pins(cacheDir);
    const path = `${cacheDir}/${PINS_FILE}`;
    const text = readIfThere(path);
    if (text === undefined) return pins;
    const parsed = v.safeParse(FileSchema, parseJson(text));
    if (parsed.success) {
      const known = parsed.output.pins.map(({ path, since_ms }) => ({ path, sinceMs: since_ms }));
      pins.#pins = new Map(known.map((pin) => [pin.path, pin]));
    } else {
      log.error("The list of pins is damaged and was set aside; pin again what is to be kept", {
        file: `${path}.bad`,
      });
      renameQuietly(path, `${path}.bad`);
    }
    return pins;
  }

  private constructor(cacheDir: string) {
    this.#cacheDir = cacheDir;
  }

  /** In the order of their paths. */
  list(): Pin[] {
    return [...this.#pins.values()].toSorted((a, b) => a.path < b.path ? -1 : 1);
  }

  get size(): number {
    return this.#pins.size;
  }

  /** The pin that covers a path: its own, or that of a folder above it. */
  above(path: string): Pin | undefined {
    if (this.#pins.size === 0) return undefined;
    for (const folder of selfAndAbove(path)) {
      const pin = this.#pins.get(folder);
      if (pin) return pin;
    }
    return undefined;
  }

  /** Adds paths; what is pinned stays so. Throws `unavailable` if they cannot be written down. */
  add(paths: readonly string[], nowMs: number): void {
    const next = new Map(this.#pins);
    for (const path of paths) if (!next.has(path)) next.set(path, { path, sinceMs: nowMs });
    this.#replace(next);
  }

  /** Removes the pins of a path and of all below it; which those were. Throws as `add`. */
  remove(path: string): string[] {
    const removed = [...this.#pins.keys()].filter((pinned) => isWithin(pinned, path));
    if (removed.length === 0) return removed;
    const next = new Map(this.#pins);
    for (const pinned of removed) next.delete(pinned);
    this.#replace(next);
    return removed;
  }

  /** Calls `listener` after each change; the result ends that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Readers of the file see the old list or the new one. */
  #replace(next: Map<string, Pin>): void {
    const path = `${this.#cacheDir}/${PINS_FILE}`;
    const pins = [...next.values()].map(({ path, sinceMs }) => ({ path, since_ms: sinceMs }));
    try {
      Deno.writeTextFileSync(`${path}.new`, JSON.stringify({ format: 1, pins }, null, 2) + "\n", {
        mode: 0o600,
      });
      Deno.renameSync(`${path}.new`, path);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new MusicfsError(
        "unavailable",
        `Cannot write ${path}: ${why}. Nothing was changed; free space on its disk and try again`,
        { op: "pins.write", subject: path, cause },
      );
    }
    this.#pins = next;
    for (const listener of this.#listeners) listener();
  }
}

/** Whether `path` is `folder` or lies below it; "" is above everything. */
export function isWithin(path: string, folder: string): boolean {
  return folder === "" || path === folder || path.startsWith(`${folder}/`);
}

/**
 * Those of the paths that lie below no other one, each once.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { outermost } from "./pins.ts";
 *
 * assert.deepEqual(outermost(["A/b", "A", "A b", "A"]), ["A", "A b"]);
 * ```
 */
export function outermost(paths: Iterable<string>): string[] {
  const all = new Set(paths);
  return [...all].filter((path) => {
    const [, ...above] = selfAndAbove(path);
    return !above.some((folder) => all.has(folder));
  });
}

/** The path, the folder it lies in, and so on up to "". */
function selfAndAbove(path: string): string[] {
  const all = [path];
  for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
    all.push(path.slice(0, end));
  }
  if (path !== "") all.push("");
  return all;
}

function readIfThere(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    const why = error instanceof Error ? error.message : String(error);
    throw new MusicfsError("unavailable", `Cannot read ${path}: ${why}`, {
      op: "pins.read",
      subject: path,
      cause: error,
    });
  }
}

function renameQuietly(from: string, to: string): void {
  try {
    Deno.renameSync(from, to);
  } catch (error) {
    // It is read, and set aside, again next time.
    if (!(error instanceof Error)) throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
