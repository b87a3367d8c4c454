import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { childProbe } from "../../src/store/probe_child.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** A probe whose child runs a line of shell; `$0` and `$1` are what it is given. */
function shellProbe(line: string): (dir: string) => Promise<unknown> {
  return childProbe(["/bin/sh", "-c", line], systemClock);
}

Deno.test("childProbe() starts our own executable with the hidden subcommand and the folder", async () => {
  const probe = shellProbe('[ "$0 $1" = "__probe-index /some/index" ]');
  assert.equal(await probe("/some/index"), "ok");
});

const BAD: [string, string][] = [
  ["echo 'bad: table names: 3 of 4 records'; exit 3", "table names: 3 of 4 records"],
  ["kill -SEGV $$", "the probe died of SIGSEGV"],
  ["kill -BUS $$", "the probe died of SIGBUS"],
  ["kill -ABRT $$", "the probe died of SIGABRT"],
];
for (const [line, bad] of BAD) {
  Deno.test(`childProbe() takes "${line}" for a damaged index`, async () => {
    assert.deepEqual(await shellProbe(line)("/x"), { bad });
  });
}

for (const line of ["kill -KILL $$", "kill -TERM $$", "exit 1", "exit 127"]) {
  Deno.test(`childProbe() takes "${line}" for no answer, not for damage`, async () => {
    await assert.rejects(shellProbe(line)("/x"), isUnavailable);
  });
}

Deno.test("childProbe() of a program that is missing says that it has no answer", async () => {
  await assert.rejects(childProbe(["/no/such/program"], systemClock)("/x"), isUnavailable);
});

Deno.test("childProbe() ends a child that does not end, and takes it for damage", async () => {
  const clock = new VirtualClock();
  const result = childProbe(["/bin/sh", "-c", "exec sleep 600"], clock)("/x");
  assert.deepEqual(clock.sleeping, [20_000]);
  await clock.advance(20_000);
  assert.deepEqual(await result, { bad: "the probe did not end within 20 s" });
});

function isUnavailable(error: unknown): boolean {
  return error instanceof MusicfsError && error.code === "unavailable";
}
