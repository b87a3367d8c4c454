import fc from "fast-check";
import assert from "node:assert/strict";
import {
  chooseDemotions,
  chooseVictims,
  extraBytes,
  marginBytes,
  PROMOTE_AFTER_S,
  PROTECTED_SHARE,
  SEGMENT,
  type Segment,
  USE_GRANULARITY_S,
  used,
} from "../../src/store/lru_eviction.ts";

const sizes = fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 30 });
const sum = (items: readonly { diskBytes: number }[]): number =>
  items.reduce((total, item) => total + item.diskBytes, 0);

Deno.test("chooseVictims() takes the shortest start that frees enough, or all there is", () => {
  const amounts = fc.integer({ min: -5, max: 2000 });
  fc.assert(fc.property(sizes, amounts, fc.nat(500), (bytes, needBytes, extra) => {
    const items = bytes.map((diskBytes) => ({ diskBytes }));
    const victims = chooseVictims(items, { needBytes, extraBytes: extra });
    assert.deepEqual(victims, items.slice(0, victims.length));
    if (needBytes <= 0) return assert.equal(victims.length, 0);
    if (victims.length < items.length) assert.ok(sum(victims) >= needBytes + extra);
    assert.ok(victims.length === 0 || sum(victims.slice(0, -1)) < needBytes + extra);
  }));
});

Deno.test("chooseVictims() does not look further than it must", () => {
  function* endless(): Iterable<{ diskBytes: number }> {
    while (true) yield { diskBytes: 10 };
  }
  assert.equal(chooseVictims(endless(), { needBytes: 95, extraBytes: 10 }).length, 11);
});

Deno.test("chooseDemotions() brings the protected part below its share, at most max items", () => {
  fc.assert(fc.property(sizes, fc.integer({ min: 1, max: 2000 }), (bytes, limitBytes) => {
    const items = bytes.map((diskBytes) => ({ diskBytes }));
    const protectedBytes = sum(items);
    const segment = { segmentBytes: protectedBytes, share: PROTECTED_SHARE };
    const demoted = chooseDemotions(items, { ...segment, limitBytes, max: 1000 });
    const left = protectedBytes - sum(demoted);
    assert.ok(left <= limitBytes * PROTECTED_SHARE);
    if (protectedBytes <= limitBytes * PROTECTED_SHARE) assert.equal(demoted.length, 0);
    assert.ok(
      chooseDemotions(items, { ...segment, limitBytes, max: 3 }).length <= 3,
    );
  }));
});

Deno.test("used() tells sessions apart by time, and never moves an item down", () => {
  const item = fc.record({
    since: fc.nat(2000),
    lastUse: fc.nat(2000),
    segment: fc.constantFrom<Segment>(SEGMENT.probation, SEGMENT.protected),
  });
  fc.assert(fc.property(item, fc.nat(4000), (before, now) => {
    const after = used(before, now);
    assert.ok(after.segment >= before.segment);
    if (now < before.lastUse + USE_GRANULARITY_S) return assert.equal(after, before);
    assert.equal(after.lastUse, now);
    const again = now >= before.since + PROMOTE_AFTER_S;
    assert.equal(after.segment, again ? SEGMENT.protected : before.segment);
  }));
});

Deno.test("used() protects a track that is played in a loop shorter than a session", () => {
  let item = { since: 0, lastUse: 0, segment: SEGMENT.probation as Segment };
  for (let now = 0; now <= 600; now += 180) item = used(item, now);
  assert.equal(item.segment, SEGMENT.protected);
});

Deno.test("extraBytes() and marginBytes() leave most of any limit for music", () => {
  fc.assert(fc.property(fc.integer({ min: 1024, max: 2 ** 45 }), (limitBytes) => {
    assert.ok(extraBytes(limitBytes) + marginBytes(limitBytes) <= limitBytes * 0.1);
  }));
});
