import assert from "node:assert/strict";
import fc from "fast-check";
import {
  DEBOUNCE_MS,
  DIRTY_FOLDERS_MAX,
  DIRTY_MS_MAX,
  GROWING_MS_MAX,
  WatchQueue,
} from "../../src/library/watch_queue.ts";
import type { FolderHint } from "../../src/origins/folder_watch.ts";

const PLAIN = { isNew: false, isGone: false, isGrowing: false, isMove: false };

function hint(folder: string, more: Partial<FolderHint> = {}): FolderHint {
  return { ...PLAIN, folder, ...more };
}

Deno.test("WatchQueue looks at a folder when it has been quiet, at the latest after a second", () => {
  const queue = new WatchQueue();
  assert.equal(queue.lookDueMs(), undefined);
  queue.note(hint("a"), 1_000);
  assert.equal(queue.lookDueMs(), 1_000 + DEBOUNCE_MS);
  for (let ms = 1_000; ms <= 1_900; ms += 100) queue.note(hint("a"), ms);
  assert.equal(queue.takeLook(1_999), undefined);
  assert.equal(queue.lookDueMs(), 1_000 + DIRTY_MS_MAX);
  assert.deepEqual(queue.takeLook(2_000)?.folders, ["a"]);
  assert.equal(queue.lookDueMs(), undefined);
});

Deno.test("WatchQueue waits longer for a file that is being written, unless more happens", () => {
  const queue = new WatchQueue();
  const growing = hint("a", { isGrowing: true });
  for (let ms = 0; ms < GROWING_MS_MAX; ms += 100) {
    assert.equal(queue.takeLook(ms), undefined);
    queue.note(growing, ms);
  }
  assert.deepEqual(queue.takeLook(GROWING_MS_MAX)?.folders, ["a"]);
  queue.note(growing, 20_000);
  queue.note(hint("a"), 20_050);
  for (let ms = 20_100; ms < 21_050; ms += 100) queue.note(growing, ms);
  assert.deepEqual(queue.takeLook(21_050)?.folders, ["a"]);
});

Deno.test("WatchQueue says what is new, and how many names went", () => {
  const queue = new WatchQueue();
  queue.note(hint(""), 0);
  queue.note(hint("a", { isNew: true }), 0);
  queue.note(hint("a"), 0);
  for (let i = 0; i < 3; i += 1) queue.note(hint("b", { isGone: true }), 0);
  assert.deepEqual(queue.takeLook(DEBOUNCE_MS), {
    folders: ["", "a", "b"],
    deep: new Set(["a"]),
    gone: new Map([["b", 3]]),
  });
});

Deno.test("WatchQueue looks at both ends of a move together", () => {
  const queue = new WatchQueue();
  for (let ms = 0; ms <= 900; ms += 100) queue.note(hint("from"), ms);
  queue.note(hint("from", { isMove: true, isGone: true }), 950);
  queue.note(hint("to", { isMove: true }), 950);
  queue.note(hint("other"), 950);
  assert.deepEqual(queue.takeLook(1_000)?.folders, ["from", "to"]);
  assert.deepEqual(queue.takeLook(1_150)?.folders, ["other"]);
});

Deno.test("WatchQueue keeps what was seen to go until that is believed, but not for ever", () => {
  const queue = new WatchQueue();
  for (let i = 0; i < 5; i += 1) queue.note(hint("a", { isGone: true }), 0);
  let now = queue.lookDueMs() ?? NaN;
  let batch = queue.takeLook(now);
  assert(batch);
  queue.looked(batch, { isHeld: true, nowMs: now });
  queue.note(hint("a", { isGone: true }), now);
  now = queue.lookDueMs() ?? NaN;
  batch = queue.takeLook(now);
  assert.equal(batch?.gone.get("a"), 6);
  let looks = 1;
  for (; batch; looks += 1) {
    queue.looked(batch, { isHeld: true, nowMs: now });
    now = queue.lookDueMs() ?? now;
    batch = queue.takeLook(now);
  }
  assert.equal(looks, 6);
  queue.note(hint("a", { isGone: true }), now);
  batch = queue.takeLook(now + DEBOUNCE_MS);
  assert(batch);
  queue.looked(batch, { isHeld: false, nowMs: now });
  assert.equal(queue.size, 0);
});

Deno.test("WatchQueue wants a scan instead of too many folders", () => {
  const queue = new WatchQueue();
  for (let i = 0; i < DIRTY_FOLDERS_MAX; i += 1) queue.note(hint(`${i}`), 0);
  assert.equal(queue.scanDueMs(), undefined);
  queue.note(hint("one more"), 0);
  assert.equal(queue.size, DIRTY_FOLDERS_MAX);
  assert.equal(queue.scanDueMs(), DEBOUNCE_MS);
});

Deno.test("WatchQueue scans again, later each time, until a scan is complete and lost nothing", () => {
  const queue = new WatchQueue();
  const startedAt: number[] = [];
  let now = 0;
  const scan = (end: { complete: boolean; lost?: boolean }): void => {
    now = queue.scanDueMs() ?? NaN;
    assert.equal(queue.takeScan(now - 1), false);
    assert(queue.takeScan(now));
    startedAt.push(now);
    if (end.lost) queue.lost(now);
    assert.equal(queue.scanDueMs(), undefined, "one at a time");
    queue.scanEnded(end.complete, now);
  };
  queue.lost(0);
  for (let i = 0; i < 9; i += 1) scan({ complete: i % 2 === 0, lost: i % 2 === 0 });
  scan({ complete: true });
  assert.equal(queue.scanDueMs(), undefined);
  const waits = startedAt.slice(1).map((ms, i) => ms - (startedAt[i] ?? 0));
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  queue.lost(now + 500);
  assert.equal(queue.scanDueMs(), now + 500 + DEBOUNCE_MS, "what was lost is made good");
});

Deno.test("WatchQueue forgets nothing and lets nothing wait too long, whatever happens", () => {
  const step = fc.record({
    folder: fc.constantFrom("", "a", "a/b", "c"),
    isNew: fc.boolean(),
    isGone: fc.boolean(),
    isGrowing: fc.boolean(),
    isMove: fc.boolean(),
    waitMs: fc.integer({ min: 0, max: 400 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const queue = new WatchQueue();
    const since = new Map<string, { ms: number; isNew: boolean; gone: number }>();
    let now = 0;
    const takeUntil = (end: number): void => {
      for (let due = queue.lookDueMs(); due !== undefined && due <= end;) {
        now = Math.max(now, due);
        const batch = queue.takeLook(now);
        assert(batch, "what is due is taken");
        for (const folder of batch.folders) {
          const dirty = since.get(folder);
          assert(dirty, "nothing is looked at without a hint");
          assert(now - dirty.ms <= GROWING_MS_MAX);
          assert.equal(batch.deep.has(folder), dirty.isNew);
          assert.equal(batch.gone.get(folder) ?? 0, dirty.gone);
          since.delete(folder);
        }
        due = queue.lookDueMs();
      }
      now = end;
    };
    for (const { waitMs, ...hint } of steps) {
      queue.note(hint, now);
      const dirty = since.get(hint.folder) ?? { ms: now, isNew: false, gone: 0 };
      since.set(hint.folder, {
        ms: dirty.ms,
        isNew: dirty.isNew || hint.isNew,
        gone: dirty.gone + (hint.isGone ? 1 : 0),
      });
      takeUntil(now + waitMs);
    }
    takeUntil(now + GROWING_MS_MAX);
    assert.deepEqual([...since.keys()], []);
  }));
});
