/** What the kernel can do, for `musicfs doctor`. */

import { type Finding, ok, warning } from "./doctor.ts";
import { hasResend, hasStaleListings } from "./kernel_release.ts";

/** What a kernel of this release does for a mount of this user. */
export function judgeKernel({ release, isRoot }: { release: string; isRoot: boolean }): Finding {
  if (!hasResend(release)) {
    return warning(
      `Linux ${release}: a mount does not outlive its daemon, no passthrough of local files`,
      "a kernel of 6.9 or later; all else works with this one",
    );
  }
  const passthrough = isRoot ? "passthrough" : "passthrough for root alone";
  const listings = hasStaleListings(release)
    ? "listings not cached (6.9 to 6.12)"
    : "cached listings";
  return ok(`Linux ${release}: take-over with resend, ${passthrough}, ${listings}`);
}
