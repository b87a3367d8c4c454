import assert from "node:assert/strict";
import {
  type End,
  FAILURES_MAX,
  judge,
  SETTLED_MS,
  type Standing,
} from "../../src/mount/supervision.ts";
import { GIVEN_UP } from "../../src/mount/exit_codes.ts";

const SERVING: End = {
  code: 137,
  isDeath: true,
  isSuccessor: true,
  servedMs: SETTLED_MS,
  isMeant: false,
};
const HELD: Standing = { everReady: true, isHolding: true, isStopAsked: false, failures: 0 };
const FRESH: Standing = { everReady: false, isHolding: false, isStopAsked: false, failures: 0 };
const exit = (code: number, detaches = false) => ({ then: "exit", code, detaches }) as const;
const start = (failures = 0) => ({ then: "start", failures }) as const;

Deno.test("judge() starts a successor of who served, however that ended unasked", () => {
  assert.deepEqual(judge(SERVING, HELD), start());
  assert.deepEqual(judge({ ...SERVING, code: 1, isDeath: false }, HELD), start());
  assert.deepEqual(judge({ ...SERVING, code: 0, isDeath: false }, HELD), start(), "SIGUSR1");
  assert.deepEqual(judge({ ...SERVING, code: null }, HELD), start(), "not our child");
  assert.deepEqual(judge(SERVING, { ...HELD, isHolding: false }), start(), "an old kernel");
});

Deno.test("judge() passes on how a daemon ended that never answered", () => {
  const first = { ...SERVING, isSuccessor: false, servedMs: undefined };
  assert.deepEqual(judge({ ...first, code: 2, isDeath: false }, FRESH), exit(2));
  assert.deepEqual(judge({ ...first, code: 0, isDeath: false }, FRESH), exit(0), "--help");
  assert.deepEqual(judge(first, FRESH), exit(137));
});

Deno.test("judge() starts a successor of who was killed between its mount and its first answer", () => {
  const first = { ...SERVING, isSuccessor: false, servedMs: undefined };
  const holding = { ...FRESH, isHolding: true };
  assert.deepEqual(judge(first, holding), start());
  assert.deepEqual(judge({ ...first, code: 1, isDeath: false }, holding), exit(1, true));
});

Deno.test("judge() ends with a daemon whose end was meant, and clears up behind a killed one", () => {
  const meant = { ...SERVING, isMeant: true };
  assert.deepEqual(judge({ ...meant, code: 0, isDeath: false }, HELD), exit(0));
  assert.deepEqual(judge({ ...meant, code: 1, isDeath: false }, HELD), exit(1, true));
  assert.deepEqual(judge(meant, HELD), exit(137, true));
});

Deno.test("judge() ends with 0 when a successor finds nothing to take over", () => {
  const gone = { ...SERVING, code: 0, isDeath: false, servedMs: undefined };
  assert.deepEqual(judge(gone, { ...HELD, isHolding: false }), exit(0));
});

Deno.test("judge() passes it on when a daemon gave the mount up", () => {
  const hopeless = { ...SERVING, code: GIVEN_UP, isDeath: false, servedMs: undefined };
  assert.deepEqual(judge(hopeless, { ...HELD, isHolding: false }), exit(GIVEN_UP));
});

Deno.test("judge() starts nobody once it was told to end, and takes the mount away", () => {
  const asked = { ...HELD, isStopAsked: true };
  assert.deepEqual(judge(SERVING, asked), exit(0, true));
  assert.deepEqual(judge({ ...SERVING, servedMs: undefined, code: 143 }, asked), exit(0, true));
  const early = { ...FRESH, isStopAsked: true };
  assert.deepEqual(judge({ ...SERVING, servedMs: undefined, code: 143 }, early), exit(143, true));
});

Deno.test("judge() gives up after successors in a row that ended at once, never sooner", () => {
  for (const servedMs of [undefined, 0, SETTLED_MS - 1]) {
    const quick = { ...SERVING, servedMs };
    for (let failures = 0; failures < FAILURES_MAX - 1; failures += 1) {
      assert.deepEqual(judge(quick, { ...HELD, failures }), start(failures + 1));
    }
    assert.deepEqual(judge(quick, { ...HELD, failures: FAILURES_MAX - 1 }), { then: "giveUp" });
  }
  assert.deepEqual(judge(SERVING, { ...HELD, failures: FAILURES_MAX - 1 }), start());
  assert.deepEqual(judge({ ...SERVING, servedMs: 0, isSuccessor: false }, HELD), start(0));
});
