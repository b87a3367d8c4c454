import assert from "node:assert/strict";
import { runCheckMount } from "../../src/cli/check_mount_command.ts";
import { tempDir } from "../support/temp_dir.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { fakeContext } from "./fake_context.ts";

const CASES = [
  { env: {}, waitsMs: [] },
  { env: { SERVICE_RESULT: "success", EXIT_STATUS: "0" }, waitsMs: [] },
  { env: { SERVICE_RESULT: "signal", EXIT_STATUS: "KILL" }, waitsMs: [] },
  { env: { SERVICE_RESULT: "exit-code", EXIT_STATUS: "2" }, waitsMs: [] },
  { env: { SERVICE_RESULT: "exit-code", EXIT_STATUS: "1" }, waitsMs: [2_000] },
] as const;

for (const { env, waitsMs } of CASES) {
  const name = Object.values(env).join(" ") || "no service";
  Deno.test(`check-mount after ${name} and without a mount keeps systemd for ${waitsMs[0] ?? 0} ms`, async () => {
    await using dir = await tempDir("check");
    const clock = new VirtualClock();
    const variables: Record<string, string> = env;
    const { context, printed } = fakeContext({ clock, env: (name) => variables[name] });
    const mountpoint = dir.path;
    const run = runCheckMount({ mountpoint, dryRun: false, json: false }, context);
    await clock.settle();
    assert.deepEqual(clock.sleeping, waitsMs);
    assert.equal(printed.stdout, `${dir.path}: absent\n`, "said before it waits");
    await clock.advance(2_000);
    assert.equal(await run, 0);
  });
}
