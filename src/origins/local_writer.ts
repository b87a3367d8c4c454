import { join } from "node:path/posix";
import { type ErrorCode, MusicfsError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { FolderWriter } from "./folder_writer.ts";
import { codeOf } from "./local_errors.ts";

/** Beside the file that is written, until it takes its place. */
export const TEMPORARY = /\.[0-9a-f]{8}\.tmp$/;

const FULL = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Files in a folder of this machine, each written beside its place and renamed. */
export class LocalWriter implements FolderWriter {
  readonly #root: string;
  readonly #random: () => number;

  constructor(root: string, { random }: { random: () => number }) {
    this.#root = root;
    this.#random = random;
  }

  async makeFolder(path: string): Promise<void> {
    try {
      await Deno.mkdir(join(this.#root, path));
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) return;
      throw this.#error(path, error);
    }
  }

  async write(
    path: string,
    bytes: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const place = join(this.#root, path);
    const chance = Math.floor(this.#random() * 2 ** 32);
    const temporary = `${place}.${chance.toString(16).padStart(8, "0")}.tmp`;
    try {
      await writeDurably(temporary, bytes);
      failpoint("publish.before_rename");
      await Deno.rename(temporary, place);
    } catch (error) {
      await Deno.remove(temporary).catch(() => undefined);
      throw this.#error(path, error);
    }
  }

  async remove(path: string): Promise<void> {
    failpoint("publish.before_remove");
    try {
      await Deno.remove(join(this.#root, path));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw this.#error(path, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #error(path: string, cause: unknown): MusicfsError {
    const code = codeOfWrite(cause);
    const full = join(this.#root, path);
    return new MusicfsError(code, `Cannot write "${full}": ${REASONS[code] ?? cause}`, {
      op: "local.write",
      subject: full,
      cause,
    });
  }
}

const REASONS: Readonly<Partial<Record<ErrorCode, string>>> = {
  not_found: "its folder does not exist",
  denied: "permission denied, or the disk is read-only; run this as who may write there",
  full: "the disk is full; make room and run this again",
};

async function writeDurably(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o644 });
  for (let done = 0; done < bytes.length;) {
    failpoint("publish.before_write");
    done += await file.write(bytes.subarray(done));
  }
  // Renamed before its bytes are on the disk, it could be empty after a power loss.
  await file.sync();
}

function codeOfWrite(error: unknown): ErrorCode {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (FULL.has(code)) return "full";
  return code === "EROFS" ? "denied" : codeOf(error);
}
