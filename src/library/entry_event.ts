/** What became of a file or link of the tree. Folders come and go without saying. */
export interface EntryEvent {
  kind: "added" | "changed" | "gone" | "moved";
  /** Below the root, as it was when that happened; of what moved, where it is now. */
  path: string;
  /** Of what moved, where it was; absent for all others. */
  from?: string;
}

/** Told after each commit of what it did, in order. */
export type EventListener = (events: readonly EntryEvent[]) => void;
