import { posix } from "node:path";
import type { ErrorCode, MusicfsError } from "../base/errors.ts";
import { statPathWaiting } from "../base/posix.ts";
import { isLocalDisk } from "./local_disk.ts";
import { codeOf, localError } from "./local_errors.ts";

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

/**
 * The folder of a local origin: where it really lies, whether it is well, and what is inside it.
 *
 * A missing name means something only while the root is well. A NAS that is not mounted leaves
 * nothing, or an empty folder on another disk: that is `unavailable`, never `not_found`.
 */
export class LocalRoot {
  readonly path: string;
  /** The root with its links resolved; undefined until it was once seen. */
  #real: string | undefined;
  /** Major and minor number of the disk on which it was last well. */
  #device: string | undefined;
  #isLocal = false;

  constructor(path: string) {
    this.path = posix.resolve(path);
  }

  /** The full path of what lies at `path` below the root. Throws `invalid` for one that leaves it. */
  join(path: string): string {
    return path === "" ? this.path : `${this.path}/${this.relative(path)}`;
  }

  /** `path` itself. Throws `invalid` if it is not one that this origin gave out. */
  relative(path: string): string {
    const parts = path.split("/");
    const wrong = parts.some((part) => part === "" || part === "." || part === "..");
    if (!wrong && !path.includes("\0")) return path;
    throw localError("invalid", path, {
      op: "local.path",
      reason: "it is no path below the origin",
    });
  }

  /** Throws `unavailable` unless the root is a folder that can be trusted. */
  async check(op: string): Promise<void> {
    let real: string;
    try {
      real = await Deno.realPath(this.path);
    } catch (cause) {
      throw this.#ill(op, "the origin's folder is missing; is its disk mounted?", cause);
    }
    const status = await statPathWaiting(real);
    if (!status) throw this.#ill(op, "the origin's folder does not answer");
    if ((status.mode & S_IFMT) !== S_IFDIR) throw this.#ill(op, "the origin is not a folder");
    const device = `${status.deviceMajor}:${status.deviceMinor}`;
    if (this.#device !== undefined && this.#device !== device && await this.#isEmpty(real, op)) {
      throw this.#ill(op, "it is empty and on another disk than before; is its disk mounted?");
    }
    if (this.#device !== device) this.#isLocal = await isLocalDisk(real);
    this.#device = device;
    this.#real = real;
  }

  /** "major:minor" of the disk on which it was last well, if that is one of this machine. */
  get localDisk(): string | undefined {
    return this.#isLocal ? this.#device : undefined;
  }

  /**
   * The full path of a folder below a root that was last seen where it was configured, no part of
   * its path a link; undefined for another root, whose links must be followed each time.
   */
  joinReal(path: string): string | undefined {
    return this.#real === this.path ? this.join(path) : undefined;
  }

  /**
   * The full path of a folder that is really where it seems: no part of its path is a link.
   *
   * Throws `not_found`, `invalid` for what is reached through a link, `unavailable`.
   */
  async enter(folder: string, op: string): Promise<string> {
    const full = this.join(folder);
    let real: string;
    try {
      real = await Deno.realPath(full);
    } catch (cause) {
      throw await this.explain(codeOf(cause), folder, { op, cause });
    }
    const below = folder === "" ? "" : `/${folder}`;
    if (real === `${this.#real}${below}`) return full;
    await this.check(op);
    if (real === `${this.#real}${below}`) return full;
    throw localError("invalid", folder, { op, reason: "it is reached through a link" });
  }

  /** Whether a path, its links resolved, lies inside the root. */
  async holds(path: string): Promise<boolean> {
    if (this.#real === undefined) await this.check("local.read");
    return this.#below(await Deno.realPath(path)) !== undefined;
  }

  /**
   * The error for a call that failed; `unavailable` if the root is not well.
   *
   * Only a well root's missing name is `not_found`; a root that may not be read is `unavailable`.
   */
  async explain(
    code: ErrorCode,
    path: string,
    options: { op: string; cause?: unknown },
  ): Promise<MusicfsError> {
    try {
      await this.check(options.op);
    } catch (error) {
      return localError("unavailable", path, { ...options, cause: error });
    }
    return localError(path === "" && code !== "denied" ? "unavailable" : code, path, options);
  }

  /**
   * Where the link at `path` points, relative to its own folder; undefined if that is outside.
   *
   * What the link leads to counts. One that leads nowhere is judged by its text.
   */
  async linkTarget(path: string): Promise<string | undefined> {
    const full = this.join(path);
    if (this.#real === undefined) await this.check("local.list");
    const text = await Deno.readLink(full).catch(() => undefined);
    if (text === undefined || text.includes("\uFFFD")) return undefined;
    const seeming = this.#seeming(posix.dirname(full), text);
    const real = await Deno.realPath(full).catch(() => undefined);
    if (real === undefined) return seeming && relativeTo(path, seeming);
    const below = this.#below(real);
    if (below === undefined) return undefined;
    const same = seeming !== undefined && await this.#leadsTo(seeming, real);
    return relativeTo(path, same ? seeming : below);
  }

  /** The path below the root that a link's text names, taken word for word; "/" for the root. */
  #seeming(folder: string, text: string): string | undefined {
    const target = posix.resolve(folder, text);
    if (target === this.path) return "/";
    if (target.startsWith(`${this.path}/`)) return target.slice(this.path.length);
    return this.#below(target);
  }

  #below(real: string): string | undefined {
    if (real === this.#real) return "/";
    return real.startsWith(`${this.#real}/`) ? real.slice(this.#real?.length) : undefined;
  }

  async #leadsTo(seeming: string, real: string): Promise<boolean> {
    return await Deno.realPath(this.path + seeming).catch(() => undefined) === real;
  }

  async #isEmpty(path: string, op: string): Promise<boolean> {
    try {
      for await (const _ of Deno.readDir(path)) return false;
      return true;
    } catch (cause) {
      throw this.#ill(op, "the origin's folder cannot be listed", cause);
    }
  }

  #ill(op: string, reason: string, cause?: unknown): MusicfsError {
    return localError("unavailable", this.path, { op, reason, cause });
  }
}

/** A relative path from the folder of the link at `path` to `target`, which starts with "/". */
function relativeTo(path: string, target: string): string {
  return posix.relative(posix.dirname(`/${path}`), target) || ".";
}
