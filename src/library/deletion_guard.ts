/** Files that may always go without a second scan's word. */
export const UNGUARDED_FILES_MAX = 9;

/** What a scan of one origin found missing. All are counts of files. */
export interface MissingFiles {
  /** Missing now. */
  gone: number;
  /** Of those, missing in the scan before as well. */
  confirmed: number;
  /** What the origin had before any of it was missing. */
  of: number;
  /** Whether the origin listed anything at all: a file, a folder, a link. */
  anythingLeft: boolean;
  /** Whether the user has said that what is gone may go. */
  accepted: boolean;
}

/**
 * Whether what is missing may be removed from the library, or is held for another scan.
 *
 * An origin that is wholly empty is more likely not mounted than emptied, and one of which nothing
 * that was known is left is more likely another disk: only the user can say.
 * More than half of the files missing, and at least ten, is believed when a second scan finds the
 * very same ones missing.
 */
export function judgeDeletions(missing: MissingFiles): "apply" | "hold" {
  const { gone, confirmed, of, anythingLeft, accepted } = missing;
  if (accepted) return "apply";
  if (!anythingLeft || (gone > UNGUARDED_FILES_MAX && gone >= of)) return "hold";
  if (gone <= UNGUARDED_FILES_MAX || gone * 2 <= of) return "apply";
  return confirmed === gone ? "apply" : "hold";
}
