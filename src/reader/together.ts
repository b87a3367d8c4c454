/** A piece of work that ends early when its signal says so. */
export type Task = (signal: AbortSignal) => Promise<void>;

/**
 * Runs tasks side by side and resolves when all have ended. The first error ends the others, and is
 * thrown when they have: none goes on unseen.
 */
export async function together(tasks: readonly Task[], signal: AbortSignal): Promise<void> {
  const [only] = tasks;
  if (only && tasks.length === 1) return await only(signal);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const running = tasks.map((task) => task(either));
  try {
    await Promise.all(running);
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(running);
    throw error;
  }
}
