/** Which of the files that vanished is which of those that came. Pure. */

import { nameOf } from "./delta_detector.ts";

/** A file under its path. */
export interface Placed {
  id: number;
  path: string;
}

/** One file that moved. */
export interface MovePair {
  from: Placed;
  to: Placed;
}

/**
 * Pairs files that all have the same content mark, one to one, as long as there are some on both
 * sides: those that kept their name first, then the others, both in the order of their paths.
 */
export function pairMoved(gone: readonly Placed[], arrived: readonly Placed[]): MovePair[] {
  const pairs: MovePair[] = [];
  const byName = new Map<string, Placed[]>();
  for (const to of inPathOrder(arrived).reverse()) {
    const same = byName.get(nameOf(to.path));
    if (same) same.push(to);
    else byName.set(nameOf(to.path), [to]);
  }
  const left: Placed[] = [];
  for (const from of inPathOrder(gone)) {
    const to = byName.get(nameOf(from.path))?.pop();
    if (to) pairs.push({ from, to });
    else left.push(from);
  }
  const others = inPathOrder([...byName.values()].flat());
  for (const [i, from] of left.entries()) {
    const to = others[i];
    if (to) pairs.push({ from, to });
  }
  return pairs;
}

function inPathOrder(files: readonly Placed[]): Placed[] {
  return files.toSorted((a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : 0);
}
