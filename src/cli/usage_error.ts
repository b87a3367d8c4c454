import { MusicfsError } from "../base/errors.ts";

/** What was typed or configured is wrong: exit code 2, and nothing was done. */
export class UsageError extends MusicfsError {
  constructor(message: string, options: { subject: string; cause?: unknown }) {
    super("invalid", message, { op: "cli.configure", ...options });
  }
}
