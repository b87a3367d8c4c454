import { posix } from "node:path";
import { below, linkText, realPath, type SftpPlace } from "./sftp_place.ts";
import type { SftpSession } from "./sftp_session.ts";

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

/** Where a link points: as paths below the root with a `/` at their start. */
export interface LinkVerdict {
  /** What its text says, taken word for word; undefined if that is outside. */
  seeming: string | undefined;
  /** What it leads to: "outside", or undefined if nobody knows. */
  led: string | undefined;
}

/**
 * Where the link at `path` points, relative to its own folder; undefined if that is outside.
 *
 * What the link leads to counts, as for a local origin. One that leads nowhere is judged by its
 * text. Costs one round trip, and a second where the text and the end of its way differ.
 */
export async function linkTarget(
  session: SftpSession,
  path: string,
  place: SftpPlace,
): Promise<string | undefined> {
  const full = `${place.root}/${path}`;
  const [text, real, realRoot = place.root] = await Promise.all([
    linkText(session, full),
    realPath(session, full),
    place.realRoot(session),
  ]);
  if (text === undefined) return undefined;
  const { seeming, led } = judgeLink({ path, text, root: place.root, realRoot, real });
  const folder = posix.dirname(`/${path}`);
  if (led === "outside") return undefined;
  if (seeming === undefined || led === undefined || seeming === led) {
    const target = seeming ?? led;
    return target === undefined ? undefined : relativeTo(folder, target);
  }
  const same = await realPath(session, place.root + seeming) === real;
  return relativeTo(folder, same ? seeming : led);
}

/** Judges a link by its text and its end; a server that resolves no links tells no end. */
export function judgeLink({ path, text, root, realRoot, real }: SeenLink): LinkVerdict {
  if (text.includes("\0") || text.includes("\uFFFD")) return { seeming: undefined, led: "outside" };
  const target = posix.resolve(root + posix.dirname(`/${path}`), text);
  const seeming = below(root, target) ?? below(realRoot, target);
  const isResolved = real !== undefined && real !== `${root}/${path}` &&
    real !== `${realRoot}/${path}`;
  return { seeming, led: isResolved ? below(realRoot, real) ?? "outside" : undefined };
}

function relativeTo(folder: string, target: string): string {
  return posix.relative(folder, target) || ".";
}
