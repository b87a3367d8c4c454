import type { CasStats, CasStore, PutResult } from "../../src/store/cas_store.ts";
import { type CacheDisk, diskError } from "../../src/store/passthrough.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import type { FaultPlan } from "./faults.ts";

/** What a `FaultyCasStore` does with its calls. Counts begin when the mode is set. */
export type CasFaultMode =
  | { kind: "healthy" }
  /** Writes find no room. */
  | { kind: "full" }
  /** The disk fails writes, or reads, as a bad one does. */
  | { kind: "eio"; on: "put" | "get" }
  /** What is read is not what its name says, and is gone then. */
  | { kind: "corrupt" }
  /** After so many good calls, `then`. */
  | { kind: "after"; calls: number; then: CasFaultMode };

const ENOSPC = 28;
const EIO = 5;

/**
 * A store whose calls fail as plan and mode say, and otherwise reach `inner`. The mode may be changed
 * at any time. With a `disk`, writes that fail are told to it, as `DiskCasStore` does.
 */
export class FaultyCasStore implements CasStore {
  /** Calls so far, by method. */
  readonly calls = { put: 0, get: 0, has: 0, delete: 0 };
  readonly #disk: CacheDisk | undefined;
  readonly #plan: FaultPlan | undefined;
  #mode: CasFaultMode = { kind: "healthy" };
  #sinceMode = 0;

  constructor(
    readonly inner: CasStore,
    { disk, plan }: { disk?: CacheDisk; plan?: FaultPlan } = {},
  ) {
    this.#disk = disk;
    this.#plan = plan;
  }

  set mode(mode: CasFaultMode) {
    this.#mode = mode;
    this.#sinceMode = 0;
  }

  get mode(): CasFaultMode {
    return this.#mode;
  }

  put(hash: Uint8Array, bytes: Uint8Array<ArrayBuffer>): PutResult {
    const mode = this.#begin("put", hash);
    if (mode.kind === "full") throw this.#refused(hash, ENOSPC);
    if (mode.kind === "eio" && mode.on === "put") throw this.#refused(hash, EIO);
    return this.inner.put(hash, bytes);
  }

  get(hash: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
    const mode = this.#begin("get", hash);
    if (mode.kind === "eio" && mode.on === "get") {
      throw diskError({ op: "faulty.get", subject: hash.toHex(), errno: EIO });
    }
    const bytes = this.inner.get(hash, length);
    if (mode.kind !== "corrupt") return bytes;
    this.inner.delete(hash);
    const about = { op: "faulty.get", subject: hash.toHex() };
    throw new MusicfsError("corrupt", "Injected damage", about);
  }

  has(hash: Uint8Array, length: number): boolean {
    this.#begin("has", hash);
    return this.inner.has(hash, length);
  }

  delete(hash: Uint8Array): boolean {
    this.#begin("delete", hash);
    return this.inner.delete(hash);
  }

  stats(): CasStats {
    return this.inner.stats();
  }

  /** Counts the call, has the plan fail it, and gives the mode that holds for it. */
  #begin(method: keyof FaultyCasStore["calls"], hash: Uint8Array): CasFaultMode {
    this.calls[method] += 1;
    this.#sinceMode += 1;
    this.#plan?.check(`faulty.${method}`, hash.toHex());
    let mode = this.#mode;
    while (mode.kind === "after") {
      if (this.#sinceMode <= mode.calls) return { kind: "healthy" };
      mode = mode.then;
    }
    return mode;
  }

  #refused(hash: Uint8Array, errno: number): MusicfsError {
    const about = { op: "faulty.put", subject: `chunk ${hash.toHex()}` };
    return this.#disk?.failed(about.op, about.subject, errno) ?? diskError({ ...about, errno });
  }
}
