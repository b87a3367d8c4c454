import {
  checked,
  cString,
  libc,
  O_RDWR,
  openFile,
  pwriteFully,
  statDescriptor,
} from "../base/posix.ts";
import { makeFolder } from "../store/layout.ts";
import type { ExtentLayout } from "./extent_file.ts";

const ENOENT = 2;

/** Where an extent file lies, and the header that it must have there. */
interface ExtentFilePlace {
  readonly path: string;
  readonly header: Uint8Array<ArrayBuffer>;
  readonly layout: ExtentLayout;
}

/**
 * Moves an extent file to where it is looked for under another key, over what lies there.
 *
 * First its header is written, then it is renamed: a crash in between leaves a file under the old
 * key that nobody takes for its own, and that goes with the next eviction. What cannot be moved is
 * deleted.
 *
 * @returns whether it was moved, and whether that made a folder; false also if there was none
 */
export function moveExtent(
  { from, to, isOwn }: {
    from: ExtentFilePlace;
    to: ExtentFilePlace;
    /** Whether the open file is the extent that it should be. */
    isOwn: (descriptor: number) => boolean;
  },
): false | "moved" | "new folder" {
  const descriptor = openFile(from.path, O_RDWR);
  if (descriptor < 0) return false;
  const status = statDescriptor(descriptor);
  const isWhole = typeof status !== "number" && status.size === to.layout.fileBytes;
  const written = isWhole && isOwn(descriptor) &&
    pwriteFully(descriptor, to.header, to.layout.headerAt) === to.header.length;
  libc.close(descriptor);
  if (written) {
    const rename = (): number => checked(libc.rename(cString(from.path), cString(to.path)));
    const result = rename();
    if (result === 0) return "moved";
    const folder = to.path.slice(0, to.path.lastIndexOf("/"));
    if (result === -ENOENT && makeFolder(folder) && rename() === 0) return "new folder";
  }
  libc.unlink(cString(from.path));
  return false;
}
