/** What became of a file or link of the tree. Folders come and go without saying. */
export interface EntryEvent {
  kind: "added" | "changed" | "gone";
  /** Below the root, as it was when that happened. */
  path: string;
}

/** Told after each commit of what it did, in order. */
export type EventListener = (events: readonly EntryEvent[]) => void;
