/** `scheme://` at the start of a URL; paths have none. */
const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i;

/**
 * An origin's URL as it may be shown, logged and kept: without user, password and options, and
 * without a `/` at its end. A path is shown as it is.
 *
 * What cannot be parsed loses everything up to its last `@`: where a password with a `/` or a `#`
 * that was not escaped ends, only its owner knows.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { shownUrl } from "./shown_url.ts";
 *
 * assert.equal(shownUrl("sftp://me:secret@nas:2222/music/?x=1"), "sftp://nas:2222/music");
 * assert.equal(shownUrl("sftp://me:se/cret@nas/music"), "sftp://nas/music");
 * assert.equal(shownUrl("/srv/music"), "/srv/music");
 * ```
 */
export function shownUrl(url: string): string {
  const scheme = SCHEME.exec(url)?.[0];
  if (scheme === undefined) return url;
  const parsed = URL.parse(url);
  const rest = parsed
    ? parsed.host + parsed.pathname
    : url.slice(Math.max(scheme.length, url.lastIndexOf("@") + 1)).replace(/[?#].*$/s, "");
  return scheme.toLowerCase() + rest.replace(/\/+$/, "");
}
