import { basename, dirname, resolve } from "node:path";

/** Links followed before a path is taken as it is; the kernel's own limit. */
const LINKS_MAX = 40;

/**
 * The name that the kernel's mount table has for what is, or would be, mounted at `path`: absolute
 * and without symlinks.
 *
 * Never waits for what is mounted there: the last part of the path is only asked whether it is a
 * link, which the kernel answers for a mounted folder by itself; `realpath` would send a GETATTR
 * to a daemon that may be dead.
 */
export function canonicalMountpoint(path: string): string {
  let canonical = resolve(path);
  for (let links = 0; links < LINKS_MAX; links += 1) {
    canonical = resolve(realFolder(dirname(canonical)), basename(canonical));
    const target = linkTarget(canonical);
    if (target === undefined) return canonical;
    canonical = resolve(dirname(canonical), target);
  }
  return canonical;
}

function realFolder(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    if (error instanceof Error) return path;
    throw error;
  }
}

/** undefined for what is no link, is missing, or lies behind a dead mount. */
function linkTarget(path: string): string | undefined {
  try {
    return Deno.readLinkSync(path);
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}
