import { MusicfsError } from "../base/errors.ts";
import { localFolder, type OpenOptions, type OriginAddress, placeOf } from "./open.ts";
import { LocalWriter } from "./local_writer.ts";

/**
 * Writes small files beside the music: what `musicfs index` needs, and nothing else has. A mount
 * never writes to an origin.
 *
 * Every method throws `MusicfsError`: `denied`, `full`, `unavailable`, `timed_out`.
 */
export interface FolderWriter extends AsyncDisposable {
  /** Makes a folder, where folders are made; one that is there stays. */
  makeFolder(path: string): Promise<void>;

  /** Puts a file in place, whole or not at all: a reader sees the old one or the new one. */
  write(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;

  /** Removes a file; one that is not there is removed already. */
  remove(path: string): Promise<void>;
}

/** What a writer needs of the program that opens it. */
export interface WriterOptions extends OpenOptions {
  /** Chance in [0, 1). */
  random: () => number;
}

/** Opens the writer of an origin. Throws `invalid` for one that cannot be written to. */
export async function openWriter(
  address: OriginAddress,
  options: WriterOptions,
): Promise<FolderWriter> {
  const folder = localFolder(address.url);
  if (folder !== undefined) return new LocalWriter(folder, options);
  if (placeOf(address.url) === "s3") {
    const { S3Writer } = await import("./s3_writer.ts");
    return S3Writer.open(address, options);
  }
  throw new MusicfsError(
    "invalid",
    `Cannot write to "${address.name}" over SFTP: run musicfs on the server itself, with the ` +
      "folder's path there",
    { op: "writer.open", subject: address.name },
  );
}
