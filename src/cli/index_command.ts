/** `musicfs index`: makes the chunk index that lies beside the music. */

import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Config } from "../mount/config.ts";
import type { IndexProgress, IndexResult } from "../mount/index_build.ts";
import type { CliContext } from "./context.ts";
import { parseOriginUrl } from "./origin_url.ts";
import { oneLine, type Output, printable, printJson, startProgress } from "./output.ts";
import { formatCount, formatSeconds, formatSize } from "./quantities.ts";

/** Failures that are named; with `--json` all that the result names. */
const FAILURES_SHOWN = 20;

/** What the command works with. */
export interface IndexCommandOptions {
  /** A folder or a URL, as it was typed. */
  folder: string;
  config: Config;
  context: CliContext;
  log: Log;
  json: boolean;
}

/** `musicfs index`; exit code 1 if something could not be read, or it was interrupted. */
export async function runIndex(options: IndexCommandOptions): Promise<number> {
  const { folder, config, context, log, json } = options;
  const { indexOrigin } = await import("../mount/index_command.ts");
  const typed = parseOriginUrl(folder, { folder: context.cwd, home: context.home });
  using interrupt = new Interrupt();
  const bar = await startProgress(context.stderr);
  let result: IndexResult;
  try {
    result = await indexOrigin({ name: typed.identity, url: typed.url }, {
      hash: config.hash,
      exclude: config.exclude,
      context,
      log,
      signal: interrupt.signal,
      onProgress: (progress) => bar.update(shown(progress)),
    });
  } finally {
    bar.stop();
  }
  if (json) printJson(context.stdout, result);
  else print(result, context.stdout);
  return report(result, { stderr: context.stderr, json });
}

/** The first SIGINT or SIGTERM ends the work early, the next one the process. */
class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #onSignal = (): void => {
    this[Symbol.dispose]();
    this.#controller.abort(
      new MusicfsError("unavailable", "Interrupted before all names were known: nothing changed", {
        op: "index.walk",
        subject: "SIGINT",
      }),
    );
  };

  constructor() {
    for (const name of ["SIGINT", "SIGTERM"] as const) {
      Deno.addSignalListener(name, this.#onSignal);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    for (const name of ["SIGINT", "SIGTERM"] as const) {
      Deno.removeSignalListener(name, this.#onSignal);
    }
  }
}

function shown(progress: IndexProgress): { done: number; total: number; text: string } {
  const { files, done_files, total_files, done_bytes, total_bytes } = progress;
  if (total_files === 0) return { done: 0, total: 0, text: `${formatCount(files)} files` };
  const text = `${formatCount(done_files)} of ${formatCount(total_files)} files, ` +
    `${formatSize(done_bytes)} of ${formatSize(total_bytes)}`;
  return { done: Math.min(done_bytes, total_bytes), total: total_bytes, text };
}

function print(result: IndexResult, stdout: Output): void {
  const { files, folders, added, changed, moved, gone, seconds } = result;
  const counts = [
    `${formatCount(files)} files in ${formatCount(folders)} folders`,
    `${formatCount(added)} added`,
    `${formatCount(changed)} changed`,
    `${formatCount(moved)} moved`,
    `${formatCount(gone)} gone`,
  ].join(", ");
  stdout.write(`${counts} (${formatSeconds(seconds)})\n`);
  stdout.write(
    `${formatSize(result.read_bytes)} read; ${formatSize(result.names_bytes)} of names, ` +
      `${formatSize(result.lists_bytes)} of chunk lists written\n`,
  );
}

function report(
  { failed, failures, indexed, files, interrupted }: IndexResult,
  { stderr, json }: { stderr: Output; json: boolean },
): number {
  for (const { path, error } of json ? [] : failures.slice(0, FAILURES_SHOWN)) {
    stderr.write(`musicfs: ${printable(path)}: ${oneLine(error)}\n`);
  }
  if (failed > 0) {
    stderr.write(
      `musicfs: ${formatCount(failed)} files or folders could not be read and are not indexed\n`,
    );
  }
  if (interrupted) {
    stderr.write(
      `musicfs: Interrupted: ${formatCount(indexed)} of ${formatCount(files)} files are ` +
        "indexed; run it again to go on\n",
    );
  }
  return failed > 0 || interrupted ? 1 : 0;
}
