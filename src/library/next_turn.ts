/** Lets everything else that is ready run first: long work on the main thread calls it often. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
