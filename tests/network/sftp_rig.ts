import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { type ErrorCode, MusicfsError } from "../../src/base/errors.ts";
import { type LogFields, silentLog } from "../../src/base/log.ts";
import { plainFields } from "../../src/base/log_fields.ts";
import type { CallOptions } from "../../src/origins/origin.ts";
import { SftpOrigin } from "../../src/origins/sftp.ts";
import { type Sshd, type SshdOptions, startSshd } from "../support/servers/sshd.ts";
import { tempDir } from "../support/temp_dir.ts";

export const song = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]);
export const whole = { offset: 0, length: 8 };

/** A server, a folder that it serves, and what was logged. */
export interface Rig extends AsyncDisposable {
  sshd: Sshd;
  /** Files of the test, outside of what is served. */
  dir: string;
  /** What the origin serves: `dir/music`. */
  root: string;
  log: string[];
  /** Opens an origin, which ends with the rig. */
  open(url?: string, env?: Record<string, string>): SftpOrigin;
  /** A URL with these options, and no others. */
  url(options: Record<string, string>, user?: string): string;
}

export async function sftpRig(options: SshdOptions = {}): Promise<Rig> {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir("sftp")).path;
  const sshd = stack.use(await startSshd(options));
  const root = `${dir}/music`;
  await Deno.mkdir(root);
  await Deno.writeFile(`${root}/song`, song);
  const log: string[] = [];
  const note = (message: string, fields: LogFields = {}): void => {
    log.push(`${message} ${JSON.stringify(plainFields(fields))}`);
  };
  const resources = stack.move();
  return {
    sshd,
    dir,
    root,
    log,
    open(url = sshd.url(root), env = {}): SftpOrigin {
      const origin = SftpOrigin.open({ name: "nas", url }, {
        log: { ...silentLog, debug: note, warning: note },
        clock: systemClock,
        env: (name) => env[name],
      });
      return resources.use(origin);
    },
    url(query, user = sshd.user): string {
      const words = Object.entries(query).map(([key, value]) => `${key}=${value}`);
      return `sftp://${user}@${sshd.host}:${sshd.port}${root}?${words.join("&")}`;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

export function never(): CallOptions {
  return { signal: new AbortController().signal };
}

/** The error of a call that must fail with this code. */
export async function failure(code: ErrorCode, call: Promise<unknown>): Promise<MusicfsError> {
  const [result] = await Promise.allSettled([call]);
  assert.equal(result.status, "rejected");
  const { reason } = result;
  assert(reason instanceof MusicfsError, String(reason));
  assert.equal(reason.code, code, reason.message);
  return reason;
}

/** Everything that an error could show in a log: its message, stack, fields and causes. */
export function shownOf(error: unknown): string {
  return JSON.stringify(plainFields({ error }));
}

export async function names(origin: SftpOrigin, folder = ""): Promise<string[]> {
  const entries = await Array.fromAsync(origin.list(folder, never()));
  return entries.map(({ path }) => path).sort();
}
