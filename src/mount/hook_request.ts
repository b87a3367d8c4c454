import type { Clock } from "../base/clock.ts";
import { LinkedAbort } from "../origins/linked_abort.ts";
import { shownUrl } from "../origins/shown_url.ts";
import type { HookConfig } from "./config.ts";
import type { HookBatch } from "./hook_changes.ts";
import type { HookCall, HookFailure } from "./hook_command.ts";
import { VERSION } from "./version.ts";

/** So much of an answer is looked at, in bytes. */
const ANSWER_BYTES_MAX = 8 * 1024;

/** Subsonic answers 200 whatever happens, and says in the body that it failed. */
const SUBSONIC_FAILED = /subsonic-response[^]*?"?status"?\s*[=:]\s*"failed"/;
const SUBSONIC_MESSAGE = /"?message"?\s*[=:]\s*"([^"]{1,200})"/;

type WebHook = Extract<HookConfig, { url: string }>;

/**
 * Makes one request: POST with the changes as JSON, or GET. Redirections are not followed: what the
 * headers hold is for one server. Throws the signal's reason.
 */
export async function requestHook(
  { url, method, headers }: WebHook,
  { batch, timeoutMs, clock, signal }: HookCall,
): Promise<HookFailure | undefined> {
  using limit = new LinkedAbort(signal);
  const timer = limitAfter(timeoutMs, { limit, clock });
  try {
    const response = await fetch(url, {
      method,
      headers: { ...DEFAULT_HEADERS[method], ...lowerCased(headers) },
      redirect: "manual",
      signal: limit.signal,
      ...(method === "POST" && { body: bodyOf(batch) }),
    });
    const answer = await start(response);
    if (!response.ok) return { error: describeStatus(response) };
    if (!SUBSONIC_FAILED.test(answer)) return undefined;
    return { error: `the server says: ${SUBSONIC_MESSAGE.exec(answer)?.[1] ?? "failed"}` };
  } catch (error) {
    signal.throwIfAborted();
    if (limit.signal.aborted) return { error: `no answer within ${timeoutMs} ms` };
    return { error: withoutSecrets(error instanceof Error ? error.message : String(error)) };
  } finally {
    limit.abort("over");
    await timer;
  }
}

const AGENT = { "user-agent": `musicfs/${VERSION}` };

const DEFAULT_HEADERS = { GET: AGENT, POST: { ...AGENT, "content-type": "application/json" } };

/** A web hook's URL as it may be shown: its path may be a secret, too, as that of many webhooks. */
export function shownWebUrl(url: string): string {
  return shownUrl(URL.parse(url)?.origin ?? "");
}

/** An error of `fetch` names the URL with all that it holds. */
export function withoutSecrets(message: string): string {
  return message.replace(/https?:\/\/[^\s"'<>]*/gi, (url) => {
    // A bracket or a stop behind it is not the URL's.
    const end = /[)\].,;:]*$/.exec(url)?.[0] ?? "";
    return shownWebUrl(url.slice(0, url.length - end.length)) + end;
  });
}

function bodyOf(batch: HookBatch): string {
  const { truncated, added, changed, moved, removed, folders, changes } = batch;
  return JSON.stringify({ truncated, added, changed, moved, removed, folders, changes });
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
}

async function limitAfter(
  ms: number,
  { limit, clock }: { limit: LinkedAbort; clock: Clock },
): Promise<void> {
  await clock.sleep(ms, limit.signal).then(
    () => limit.abort("late"),
    () => undefined, // Answered in time.
  );
}

/** The beginning of an answer; the rest is let go. */
async function start(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  try {
    while (text.length < ANSWER_BYTES_MAX) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
  } finally {
    await reader.cancel();
  }
  return text.slice(0, ANSWER_BYTES_MAX);
}

function describeStatus({ status, statusText }: Response): string {
  const moved = status >= 300 && status < 400 ? "; redirections are not followed" : "";
  return `HTTP ${status}${statusText && ` ${statusText}`}${moved}`;
}
