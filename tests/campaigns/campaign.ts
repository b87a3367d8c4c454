/** What every campaign does: reads its options, prints its seed, tells how it goes, can be ended. */

import { parseArgs } from "node:util";

/** Options of a campaign by name, each with its default; all are text on the command line. */
export type CampaignOptions<T> = { [K in keyof T]: string };

/** Reads `--name value` for each name in `defaults`, and `--seed N`; a new seed by default. */
export function campaignOptions<T extends Record<string, string>>(
  args: readonly string[],
  defaults: T,
): CampaignOptions<T> & { seed: number } {
  const named = Object.entries(defaults)
    .map(([name, value]) => [name, { type: "string" as const, default: value }]);
  const options = { ...Object.fromEntries(named), seed: { type: "string" as const } };
  const { values } = parseArgs({ args: [...args], options });
  const { seed: given, ...rest } = values as Record<string, string>;
  const seed = given === undefined ? newSeed() : wholeNumber(given);
  say(`seed ${seed}`);
  return { ...rest as CampaignOptions<T>, seed };
}

/** A number of 0 or more, or an error that shows what was typed. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (text !== "" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new Error(`Not a whole number: ${JSON.stringify(text)}`);
}

/** `text` if it is one of `words`. */
export function oneOf<T extends string>(text: string, words: readonly T[]): T {
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw new Error(`Not one of ${words.join(", ")}: ${JSON.stringify(text)}`);
}

/** Aborted by SIGINT and SIGTERM until disposed of: a campaign then ends early, and tidily. */
export function interruption(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const interrupt = (): void => {
    say("interrupted: ending");
    controller.abort(new DOMException("The campaign was interrupted", "AbortError"));
  };
  for (const name of signals) Deno.addSignalListener(name, interrupt);
  return {
    signal: controller.signal,
    [Symbol.dispose](): void {
      for (const name of signals) Deno.removeSignalListener(name, interrupt);
    },
  };
}

/** Lets `ms` pass, or less if it is aborted; campaigns are about time, this is no waiting. */
export function passes(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, Math.max(0, ms));
    signal?.addEventListener("abort", end);
  });
}

/** Whether `end` comes within `ms`; nothing is left waiting then. */
export async function comesWithin(end: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController();
  try {
    return await Promise.race([
      end.then(() => true),
      passes(ms, over.signal).then(() => false),
    ]);
  } finally {
    over.abort();
  }
}

/** One line on stdout. */
export function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Faults that are shown; the others are counted. */
const FAULTS_SHOWN = 12;

/** Characters of a fault that are shown. */
const FAULT_CHARS = 1_000;

/** Programs that wanted a core in the last minute: what any figure of time depends on. */
export function load(): number {
  return Number((Deno.loadavg()[0] ?? 0).toFixed(1));
}

/** A list of what went wrong, short enough to be read. */
export class Faults {
  readonly lines: string[] = [];
  count = 0;

  /** Notes a fault and says it at once, with the time: daemons' logs have it, too. */
  add(text: string): void {
    this.count += 1;
    if (this.count > FAULTS_SHOWN) return;
    const line = `${new Date().toISOString()} ${text.replaceAll("\n", " ").slice(0, FAULT_CHARS)}`;
    this.lines.push(line);
    say(`FAULT ${line}`);
  }
}

function newSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
}
