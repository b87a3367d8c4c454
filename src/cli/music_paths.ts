/** What a typed PATH may mean: a place in the mount, or a path in the library. */

import { normalize, resolve } from "node:path/posix";
import type { TypedPath } from "../mount/cache_commands.ts";
import { canonicalMountpoint } from "../mount/mountpoint.ts";

/** From where a path was typed. */
export interface TypedFrom {
  cwd: string;
  /** Where the daemon mounts, as the kernel has it; undefined if there is none. */
  mountpoint: string | undefined;
}

/** Each path with what it may mean. Nothing in the mount is asked for. */
export function typedPaths(paths: readonly string[], from: TypedFrom): TypedPath[] {
  return paths.map((typed) => ({ typed, candidates: candidatesOf(typed, from) }));
}

function candidatesOf(typed: string, { cwd, mountpoint }: TypedFrom): string[] {
  const candidates: string[] = [];
  if (mountpoint !== undefined && typed !== "") {
    const below = pathBelow(resolve(cwd, typed), mountpoint);
    if (below !== undefined) candidates.push(below);
  }
  const path = normalize(typed).replace(/\/+$/, "");
  // Outside of the mount, "." is some other folder, and surely not all of the library.
  const isRelative = path === "." || path === ".." || path.startsWith("../");
  if (!isRelative) candidates.push(path.replace(/^\/+/, ""));
  return [...new Set(candidates)];
}

/** `path` below the mountpoint, also where links lead there; undefined if it lies elsewhere. */
function pathBelow(path: string, mountpoint: string): string | undefined {
  if (path === mountpoint) return "";
  if (path.startsWith(`${mountpoint}/`)) return path.slice(mountpoint.length + 1);
  for (let end = path.indexOf("/", 1); end !== -1; end = path.indexOf("/", end + 1)) {
    if (canonicalMountpoint(path.slice(0, end)) === mountpoint) return path.slice(end + 1);
  }
  return canonicalMountpoint(path) === mountpoint ? "" : undefined;
}
