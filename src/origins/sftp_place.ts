import { MusicfsError } from "../base/errors.ts";
import { sftpError } from "./sftp_errors.ts";
import type { SftpSession } from "./sftp_session.ts";

/**
 * The origin's folder on the server, and what is inside it.
 *
 * What the server tells of links counts. One that resolves none says of each path that it is what
 * it seems; then the origin is as large as that server lets it be.
 */
export class SftpPlace {
  /** As configured, without a `/` at its end; "" is `/`. */
  readonly root: string;
  /** The root with its links resolved, as each session last heard it. */
  readonly #real = new WeakMap<SftpSession, Promise<string | undefined>>();

  constructor(root: string) {
    this.root = root;
  }

  /** The path on the server of `path`. Throws `invalid` for what this origin never gave out. */
  full(path: string, op: string): string {
    if (path === "") return this.root === "" ? "/" : this.root;
    const wrong = path.split("/").some((part) => part === "" || part === "." || part === "..");
    if (!wrong && !path.includes("\0")) return `${this.root}/${path}`;
    throw sftpError("invalid", path, { op, reason: "it is no path below the origin" });
  }

  /** The root with its links resolved; asked again if `anew`, as a link may lead elsewhere. */
  realRoot(session: SftpSession, anew = false): Promise<string | undefined> {
    const known = this.#real.get(session);
    if (known && !anew) return known;
    const asked = realPath(session, this.root === "" ? "/" : this.root)
      .then((real) => real?.replace(/\/+$/, ""));
    this.#real.set(session, asked);
    return asked;
  }

  /** Whether what lies at `path` is really there, and not reached through a link on the way. */
  async isAt(session: SftpSession, path: string, real: string | undefined): Promise<boolean> {
    const tail = path === "" ? "" : `/${path}`;
    return await this.#check(session, (root) => real === `${root}${tail}`, real);
  }

  /** Whether a path with its links resolved lies below the root. */
  async holds(session: SftpSession, real: string | undefined): Promise<boolean> {
    return await this.#check(session, (root) => below(root, real ?? "") !== undefined, real);
  }

  /** A server that does not tell is asked for the thing itself, and says what is wrong with it. */
  async #check(
    session: SftpSession,
    isRight: (realRoot: string) => boolean,
    real: string | undefined,
  ): Promise<boolean> {
    if (real === undefined) return true;
    for (const anew of [false, true]) {
      const root = await this.realRoot(session, anew);
      if (root === undefined || isRight(root)) return true;
    }
    return false;
  }
}

/** A path with its links resolved; undefined if the server does not tell. */
export function realPath(session: SftpSession, full: string): Promise<string | undefined> {
  return textAnswer(session.request<string>((sftp, done) => sftp.realpath(full, done)));
}

/** What stands in a link; undefined if the server does not tell. */
export function linkText(session: SftpSession, full: string): Promise<string | undefined> {
  return textAnswer(session.request<string>((sftp, done) => sftp.readlink(full, done)));
}

/** `path` as seen from the root, with a `/` at its start; undefined for what is not below it. */
export function below(root: string, path: string): string | undefined {
  if (path === root || (root === "" && path === "/")) return "/";
  return path.startsWith(`${root}/`) ? path.slice(root.length) : undefined;
}

async function textAnswer(answer: Promise<string | undefined>): Promise<string | undefined> {
  try {
    const text = await answer;
    return typeof text === "string" && text !== "" ? text : undefined;
  } catch (error) {
    // The session is over; all else is the server's answer.
    if (error instanceof MusicfsError) throw error;
    return undefined;
  }
}
