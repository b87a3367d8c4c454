import { posix } from "node:path";

/** Where a link lies and where it leads, all on the server. */
export interface SeenLink {
  /** Path of the link below the root, as in `OriginEntry`. */
  path: string;
  /** What stands in it. */
  text: string;
  /** The origin's folder as it was configured, and with its own links resolved; "" is `/`. */
  root: string;
  realRoot: string;
  /** Where it really leads; undefined if that is nowhere, or the server does not tell. */
  real: string | undefined;
}

/**
 * Where a link points, relative to its own folder; undefined if that is outside the root.
 *
 * What the link leads to counts, as for a local origin. One that leads nowhere is judged by its
 * text. A server that resolves no links says of each that it leads to itself: the text counts too.
 */
export function linkTarget(link: SeenLink): string | undefined {
  const { path, text, root, realRoot, real } = link;
  if (text === "" || text.includes("\0") || text.includes("\uFFFD")) return undefined;
  const folder = posix.dirname(`/${path}`);
  const target = posix.resolve(root + folder, text);
  const seeming = below(root, target) ?? below(realRoot, target);
  if (real !== undefined && real !== `${root}/${path}` && real !== `${realRoot}/${path}`) {
    const led = below(realRoot, real) ?? below(root, real);
    if (led === undefined) return undefined;
    return relativeTo(folder, seeming ?? led);
  }
  return seeming === undefined ? undefined : relativeTo(folder, seeming);
}

/** `path` as seen from the root, with a `/` at its start; undefined for what is not below it. */
function below(root: string, path: string): string | undefined {
  if (path === root || (root === "" && path === "/")) return "/";
  return path.startsWith(`${root}/`) ? path.slice(root.length) : undefined;
}

function relativeTo(folder: string, target: string): string {
  return posix.relative(folder, target) || ".";
}
