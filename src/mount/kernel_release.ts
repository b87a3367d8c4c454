/** What a kernel's release says of what it can do. */

/** Kernels whose cached listings can be stale. Source: the architecture, section 2. */
const STALE_LISTINGS = { first: [6, 9], last: [6, 12] } as const;

/** `FUSE_NOTIFY_RESEND` and `FUSE_PASSTHROUGH` came with the same release. */
const RESEND_SINCE = [6, 9] as const;

/** Whether a kernel hands unanswered requests to a successor, and reads local files by itself. */
export function hasResend(release: string): boolean {
  const [major, minor] = versionOf(release);
  return major > RESEND_SINCE[0] || (major === RESEND_SINCE[0] && minor >= RESEND_SINCE[1]);
}

/** Whether this kernel's cached listings cannot be trusted; `release` is like "6.11.0-9-generic". */
export function hasStaleListings(release: string): boolean {
  const [major, minor] = versionOf(release);
  const { first, last } = STALE_LISTINGS;
  return major === first[0] && minor >= first[1] && minor <= last[1];
}

function versionOf(release: string): readonly [major: number, minor: number] {
  const [major = 0, minor = 0] = release.split(".").map((part) => parseInt(part, 10) || 0);
  return [major, minor];
}
