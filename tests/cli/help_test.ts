import assert from "node:assert/strict";
import { run } from "../../src/cli/run.ts";
// Loaded here and not by the first command that needs it, which would look like a leak.
import "../../src/base/posix.ts";
import { fakeContext } from "./fake_context.ts";

/** Set to write the expected texts anew; then read the difference. */
const UPDATES = Deno.env.get("MUSICFS_UPDATE_EXPECTED") !== undefined;

for (
  const command of [
    "",
    "mount",
    "unmount",
    "scan",
    "warm",
    "pin",
    "unpin",
    "gc",
    "verify",
    "index",
    "check-mount",
    "status",
    "doctor",
    "events",
    "version",
  ]
) {
  Deno.test(`musicfs ${command} --help says what tests/cli/expected says`, async () => {
    const { context, printed } = fakeContext();
    const words = command === "" ? [] : [command];
    assert.equal(await run([...words, "--help"], context), 0);
    assert.equal(printed.stderr, "");
    const file = new URL(`expected/help${command && `_${command}`}.txt`, import.meta.url);
    if (UPDATES) await Deno.writeTextFile(file, printed.stdout);
    assert.equal(printed.stdout, await Deno.readTextFile(file));
    assert(printed.stdout.split("\n").every((line) => line.length <= 100));
  });
}
