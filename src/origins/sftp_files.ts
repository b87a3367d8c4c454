import { MusicfsError } from "../base/errors.ts";

/** Longest file that is read for a key, a password or known hosts, in bytes. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;

/** Where the small files are that a login needs. */
export interface Environment {
  /** Who needs them: the origin's name. */
  name: string;
  env: (name: string) => string | undefined;
}

/** `file` with `~/` at its start as the home folder. */
export function expandHome(file: string, { env }: Environment): string {
  return file.startsWith("~/") ? `${env("HOME") ?? ""}${file.slice(1)}` : file;
}

/** A file below the home folder; undefined where there is none. */
export function homeFile(file: string, { env }: Environment): string | undefined {
  const home = env("HOME");
  return home === undefined || home === "" ? undefined : `${home}/${file}`;
}

/** The text of a file that the user named. Throws `denied` if it cannot be read, with its use. */
export async function namedFile(
  file: string,
  { name, what }: { name: string; what: string },
): Promise<string> {
  try {
    return await readText(file);
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound
      ? "it does not exist"
      : "it is not readable";
    throw new MusicfsError(
      "denied",
      `Cannot log in to origin "${name}": the ${what} "${file}" cannot be used, ${reason}. ` +
        "Let the user who runs musicfs read it",
      { op: "sftp.connect", subject: name, cause },
    );
  }
}

/** The text of a file that may be missing, or not be ours to read: undefined then. */
export async function optionalFile(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readText(file);
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

async function readText(file: string): Promise<string> {
  const { size, isFile } = await Deno.stat(file);
  if (!isFile || size > FILE_BYTES_MAX) throw new Error("It is no file, or too large");
  return await Deno.readTextFile(file);
}
