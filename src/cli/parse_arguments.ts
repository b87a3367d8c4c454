import { runParserSync } from "@optique/core/facade";
import { formatMessage, message, text } from "@optique/core/message";
import { extractCommandNames, type Usage } from "@optique/core/usage";
import type { Output } from "./output.ts";
import { type Parsed, parser } from "./parser.ts";
import { UsageError } from "./usage_error.ts";

/** Width of help where there is no terminal, in columns. */
const HELP_COLUMNS = 100;

/** Narrower terminals get lines that wrap by themselves. */
const HELP_COLUMNS_MIN = 60;

/** `[ARGUMENT...]` */
const anyArgument: Usage = [
  { type: "multiple", terms: [{ type: "argument", metavar: "ARGUMENT" }], min: 0 },
];

/** Ends the parser after it has printed what was asked for. */
class Shown {
  constructor(readonly exitCode: number) {}
}

/**
 * Parses what was typed.
 *
 * @returns the command; or undefined when help or completions were asked for and are now printed
 *
 * Throws {@linkcode UsageError} with one line that says what is wrong.
 */
export function parseArguments(argv: readonly string[], stdout: Output): Parsed | undefined {
  const isCompletion = argv[0] === "completions";
  const show = (exitCode = 0): never => {
    throw new Shown(exitCode);
  };
  let rest = "";
  try {
    return runParserSync(parser, "musicfs", argv, {
      help: { command: true, option: true, onShow: show },
      completion: { command: { names: ["completions"] }, onShow: show },
      aboveError: "none",
      colors: false,
      maxWidth: Math.max(stdout.columns || HELP_COLUMNS, HELP_COLUMNS_MIN),
      termWidth: "auto",
      showChoices: { prefix: " (", suffix: ")", label: "" },
      usageLine: [{ type: "argument", metavar: "COMMAND" }, ...anyArgument],
      brief: message`musicfs shows music that lies elsewhere as a read-only folder.`,
      footer: [text("musicfs COMMAND --help tells more and gives examples.")],
      stdout: (shown) => {
        // Completions come in parts that are joined as they are, the rest as whole texts.
        rest += isCompletion ? shown : `${shown}\n`;
      },
      stderr: () => {},
      onError: (_exitCode, error) => {
        const said = formatMessage(error, { colors: false, quotes: true });
        throw new UsageError(`${oneLine(said)} See "${helpFor(argv)}".`, {
          subject: argv[0] ?? "",
        });
      },
    });
  } catch (error) {
    if (!(error instanceof Shown)) throw error;
    stdout.write(isCompletion && rest !== "" && !rest.endsWith("\n") ? `${rest}\n` : rest);
    return undefined;
  }
}

/** How to find out more: about the command, if the first word is one. */
function helpFor(argv: readonly string[]): string {
  const name = argv[0] ?? "";
  return extractCommandNames(parser.usage).has(name) ? `musicfs ${name} --help` : "musicfs --help";
}

/** A suggestion follows the error after an empty line: `Did you mean …?` */
function oneLine(said: string): string {
  return said.replace(/\s*\n\s*/g, " ").trim();
}
