import assert from "node:assert/strict";
import { together } from "../../src/reader/together.ts";

const never = new AbortController().signal;

Deno.test("together() ends the other tasks with the first error, and waits for them", async () => {
  const ended: string[] = [];
  const waits = (signal: AbortSignal): Promise<void> =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        ended.push("other");
        reject(signal.reason);
      });
    });
  const fails = (): Promise<void> => Promise.reject(new Error("first"));
  await assert.rejects(together([waits, fails, waits], never), /first/);
  assert.deepEqual(ended, ["other", "other"]);
});

Deno.test("together() resolves when all tasks have, and at once for none", async () => {
  let done = 0;
  const task = (): Promise<void> => Promise.resolve().then(() => void (done += 1));
  await together([], never);
  await together([task], never);
  await together([task, task], never);
  assert.equal(done, 3);
});
