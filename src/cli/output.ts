/** What a command prints: tables and lines for people, JSON for programs. */

/** A stream of the process, or a double of it. */
export interface Output {
  /** Writes all of `text` before it returns. A reader that went away is no error. */
  write(text: string): void;
  /** Whether a write has found that the reader went away. */
  readonly isGone?: boolean;
  isTerminal: boolean;
  /** Width of the terminal; 0 when it is none, or does not say. */
  columns: number;
}

/** `value` as indented JSON and a newline. */
export function printJson(output: Output, value: unknown): void {
  output.write(JSON.stringify(value, null, 2) + "\n");
}

/** One line for each row: names in a column, then their values. Rows without a value are left out. */
export function printRows(
  output: Output,
  rows: readonly (readonly [name: string, value: string | undefined])[],
): void {
  const shown = rows.filter(([, value]) => value !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  for (const [name, value] of shown) output.write(`${name.padEnd(width)}  ${value}\n`);
}

/** A name fit for a line of output: what would move the cursor is written as `\n`, `\x1b`, …. */
export function printable(name: string): string {
  // deno-lint-ignore no-control-regex
  return name.replace(/[\x00-\x1f\x7f-\x9f\\]/g, (character) => {
    if (character === "\\") return "\\\\";
    if (character === "\n") return "\\n";
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** An error's message on one line; what an error quotes on a line of its own follows a space. */
export function oneLine(message: string): string {
  return printable(message.replace(/:\s*\n\s*/g, ": "));
}

/** How far something is, on one line of a terminal that is written again and again. */
export interface Progress {
  /** `done` of `total`, in what `describe` says in words; a total of 0 is unknown. */
  update(state: { done: number; total: number; text: string }): void;
  /** Takes the line away, so that other output may follow. */
  stop(): void;
}

/** Progress on `output` if it is a terminal that says how wide it is; else progress that is silent. */
export async function startProgress(output: Output): Promise<Progress> {
  if (!output.isTerminal || output.columns <= 0) {
    return { update: () => {}, stop: () => {} };
  }
  const { openBar } = await import("./progress_bar.ts");
  return openBar(output);
}
