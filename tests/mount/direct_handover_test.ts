/** Files of local disks that are open while one daemon dies and the next one goes on. */

import assert from "node:assert/strict";
import { OPCODE } from "../../src/fuse/protocol.ts";
import { randomNumbers } from "../support/churn.ts";
import { FileUser } from "../support/file_user.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { randomBytes } from "../support/sample_library.ts";
import { rounds, seed } from "../support/scale.ts";
import { bytesOf, type Death, FILE_BYTES, HandoverRig } from "./handover_rig.ts";

/** Dies of the next request of this kind, once. */
function dieOnceOf(rig: HandoverRig, opcode: number, death: Death): void {
  const before = rig.fate;
  rig.fate = (seen) => {
    if (seen !== opcode) return undefined;
    rig.fate = before;
    return death;
  };
}

async function check(user: FileUser, handle: number, i: number): Promise<void> {
  for (const at of [0, 50_000, FILE_BYTES - 100]) {
    assert.deepEqual(await user.read(handle, at, 100), bytesOf(i).subarray(at, at + 100));
  }
}

/** Nobody has a file open any more, neither we nor the kernel for us. */
async function allIsGivenBack(rig: HandoverRig): Promise<void> {
  const waiting = { ms: 10_000, what: "all handles closed" };
  await eventually(() => rig.counters.handles === 0, waiting);
  await eventually(() => rig.unmountDisk(), { ms: 10_000, what: "nobody to use the disk" });
}

/** Every place where a daemon can be killed at an OPEN or a RELEASE. */
const DEATHS: readonly [opcode: number, death: Death][] = [
  [OPCODE.OPEN, "before"],
  [OPCODE.OPEN, "handles.backing_opened"],
  [OPCODE.OPEN, "handles.counted"],
  [OPCODE.OPEN, "unanswered"],
  [OPCODE.RELEASE, "before"],
  [OPCODE.RELEASE, "handles.counted"],
  [OPCODE.RELEASE, "handles.backing_closed"],
  [OPCODE.RELEASE, "unanswered"],
];

for (const passthrough of [true, false]) {
  const how = passthrough ? "passthrough" : "pread";

  testWith(
    ["fuse", "passthrough", "gcc"],
    `a file that a predecessor opened goes on, opens again and is given back, by ${how}`,
    async () => {
      await using rig = await HandoverRig.start({ passthrough });
      await using user = await FileUser.start();
      const first = await user.open(rig.file(0));
      dieOnceOf(rig, OPCODE.OPEN, "before");
      await user.close(await user.open(rig.file(1)));
      assert.equal(rig.deaths, 1);
      await check(user, first, 0);
      const second = await user.open(rig.file(0));
      await check(user, second, 0);
      await user.close(first);
      await check(user, second, 0);
      const third = await user.open(rig.file(0));
      await user.close(second);
      await check(user, third, 0);
      assert.equal(await rig.unmountDisk(), false, "the disk is in use");
      await user.close(third);
      await allIsGivenBack(rig);
      assert.equal(rig.deferred, 0, "the worker knew where to read");
    },
  );

  for (const [opcode, death] of DEATHS) {
    const request = opcode === OPCODE.OPEN ? "OPEN" : "RELEASE";
    // Nothing is opened for the kernel.
    if (!passthrough && death === "handles.backing_opened") continue;
    testWith(
      ["fuse", "passthrough", "gcc"],
      `each handle counts once if the daemon dies at ${request}, ${death}, by ${how}`,
      async () => {
        await using rig = await HandoverRig.start({ passthrough });
        await using user = await FileUser.start();
        const others = [await user.open(rig.file(0))];
        for (const i of [1, 0, 2]) {
          dieOnceOf(rig, opcode, death);
          const handle = await user.open(rig.file(i));
          await check(user, handle, i);
          await user.close(handle);
          if (i !== 2) others.push(await user.open(rig.file(i)));
        }
        // Only the first handle of a node makes a backing id, and only the last closes it.
        const deaths = death.startsWith("handles.backing") ? 2 : 3;
        await eventually(() => rig.deaths === deaths, { ms: 10_000, what: `${deaths} deaths` });
        await eventually(() => rig.counters.handles === 3, { ms: 10_000, what: "three handles" });
        for (const handle of others) await user.close(handle);
        await allIsGivenBack(rig);
      },
    );
  }

  testWith(
    ["fuse", "passthrough", "gcc"],
    `deaths at random: no error, no wrong byte, and all is given back, by ${how}`,
    async () => {
      const start = seed();
      const random = randomNumbers(start);
      await using rig = await HandoverRig.start({ passthrough });
      const points = DEATHS.map(([, death]) => death);
      rig.fate = () => random() < 0.1 ? points[Math.floor(random() * points.length)] : undefined;
      const count = rounds({ ci: 250, long: 2_000 });
      const users = Array.from({ length: 4 }, (_, i) => useFiles(rig, { count, seed: start + i }));
      const message = `seed ${start}`;
      for (const result of await Promise.allSettled(users)) {
        if (result.status === "rejected") throw new Error(message, { cause: result.reason });
      }
      rig.fate = () => undefined;
      assert(rig.deaths > count / 10, `${message}: ${rig.deaths} deaths`);
      assert.equal(rig.deferred, 0, message);
      await allIsGivenBack(rig);
    },
  );
}

testWith(
  ["fuse", "passthrough", "gcc"],
  "a node stays open the way it is, whatever the next daemon was told of passthrough",
  async () => {
    await using rig = await HandoverRig.start({ passthrough: true });
    await using user = await FileUser.start();
    const handles = [{ handle: await user.open(rig.file(0)), i: 0 }];
    const openIn = async (passthrough: boolean, files: readonly number[]): Promise<number> => {
      const before = rig.counters.passthroughOpens;
      rig.passthrough = passthrough;
      dieOnceOf(rig, OPCODE.OPEN, "before");
      for (const i of files) handles.push({ handle: await user.open(rig.file(i)), i });
      for (const { handle, i } of handles) await check(user, handle, i);
      return rig.counters.passthroughOpens - before;
    };
    assert.equal(await openIn(false, [0, 1]), 0);
    assert.equal(await openIn(true, [0, 1, 2]), 1, "the third alone is new");
    for (const { handle } of handles) await user.close(handle);
    await allIsGivenBack(rig);
  },
);

/** What may happen to the ledger while no daemon is there, and whether node 0 is still found in it. */
const DAMAGE: Record<string, (path: string) => void> = {
  "a flipped bit": (path) => {
    const bytes = Deno.readFileSync(path);
    const at = bytes.findIndex((byte, i) => i >= 32 && byte !== 0);
    bytes[at + 16] = (bytes[at + 16] ?? 0) ^ 1;
    Deno.writeFileSync(path, bytes);
  },
  "a lost file": (path) => Deno.removeSync(path),
  "an empty file": (path) => Deno.truncateSync(path, 0),
  "a file cut within a record": (path) => Deno.truncateSync(path, 32 + 20),
  "noise": (path) => Deno.writeFileSync(path, randomBytes(100_001, 1)),
};

for (const [what, damage] of Object.entries(DAMAGE)) {
  testWith(
    ["fuse", "passthrough", "gcc"],
    `a ledger damaged by ${what}: no wrong byte, and nothing fails but to open what it lost`,
    async () => {
      await using rig = await HandoverRig.start({ passthrough: true });
      await using user = await FileUser.start();
      const lost = await user.open(rig.file(0));
      rig.between = () => damage(rig.ledgerPath);
      for (let life = 0; life < 2; life += 1) {
        dieOnceOf(rig, OPCODE.OPEN, "before");
        const other = await user.open(rig.file(1));
        rig.between = () => undefined;
        await check(user, other, 1);
        await check(user, lost, 0);
        // The kernel goes on reading the file that it was given, and takes no second one beside it.
        await assert.rejects(user.open(rig.file(0)), /errno 5$/);
        await user.close(other);
      }
      assert.equal(rig.counters.passthroughOpens, 1, "how nodes are open is not known of all");
      await user.close(lost);
      const again = await user.open(rig.file(0));
      await check(user, again, 0);
    },
  );
}

/** Opens, reads and closes at random, and in the end closes all. */
async function useFiles(
  rig: HandoverRig,
  { count, seed }: { count: number; seed: number },
): Promise<void> {
  const random = randomNumbers(seed);
  await using user = await FileUser.start();
  const open: { handle: number; i: number }[] = [];
  for (let round = 0; round < count; round += 1) {
    const chance = random();
    const one = open[Math.floor(random() * open.length)];
    if (!one || (chance < 0.35 && open.length < 5)) {
      const i = Math.floor(random() * 3);
      open.push({ handle: await user.open(rig.file(i)), i });
    } else if (chance < 0.7) {
      await user.close(one.handle);
      open.splice(open.indexOf(one), 1);
    } else await check(user, one.handle, one.i);
  }
  for (const { handle } of open) await user.close(handle);
}
