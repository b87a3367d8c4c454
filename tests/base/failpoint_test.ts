import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import { enableFailpoints, failpoint } from "../../src/base/failpoint.ts";

/** Runs `body` with failpoints on, and turns them off; the lines they printed. */
function withFailpoints(spec: string, body: () => void, chances: number[] = []): string[] {
  const lines: string[] = [];
  const tools = { random: () => chances.shift() ?? 0, print: (line: string) => lines.push(line) };
  enableFailpoints(spec, tools);
  try {
    body();
  } finally {
    enableFailpoints("", tools);
  }
  return lines;
}

/** What happens at the point "p" when it is reached so many times. */
function outcomes(spec: string, times: number, chances?: number[]): string[] {
  const seen: string[] = [];
  const lines = withFailpoints(spec, () => {
    for (let i = 0; i < times; i += 1) {
      try {
        failpoint("p");
        seen.push("ok");
      } catch (error) {
        seen.push(error instanceof MusicfsError ? error.code : String(error));
      }
    }
  }, chances);
  return [...seen, ...lines];
}

const SPECS: [string, string[]][] = [
  ["", ["ok", "ok", "ok"]],
  ["q=return", ["ok", "ok", "ok"]],
  ["p=off", ["ok", "ok", "ok"]],
  ["p=return", ["unavailable", "unavailable", "unavailable"]],
  ["p=return(full)", ["full", "full", "full"]],
  ["p=2*return", ["unavailable", "unavailable", "ok"]],
  ["p=1*off->return", ["ok", "unavailable", "unavailable"]],
  ["p=1*return->1*panic(gone)->off", ["unavailable", "Error: gone", "ok"]],
  ["p=panic", Array(3).fill("Error: Failpoint p panicked")],
  ["q=panic; p = 1*print(here) ;", ["ok", "ok", "ok", "here"]],
  ["p=2*print", ["ok", "ok", "ok", "Failpoint p reached", "Failpoint p reached"]],
  ["p=sleep(0)", ["ok", "ok", "ok"]],
];

for (const [spec, expected] of SPECS) {
  Deno.test(`failpoint() reached three times does what "${spec}" says`, () => {
    assert.deepEqual(outcomes(spec, 3), expected);
  });
}

Deno.test("failpoint() with a percentage leaves the action to chance", () => {
  const chances = [0.29, 0.3, 0.999, 0];
  const expected = ["unavailable", "ok", "ok", "unavailable"];
  assert.deepEqual(outcomes("p=30%return", 4, chances), expected);
  assert.deepEqual(outcomes("p=50%1*return->print", 2, [0.9, 0.1]), [
    "ok",
    "unavailable",
    "Failpoint p reached",
  ]);
});

Deno.test("failpoint() does nothing once the failpoints are turned off", () => {
  withFailpoints("p=return", () => assert.throws(() => failpoint("p")));
  failpoint("p");
});

for (const spec of ["p", "=return", "p=", "p=retrun", "p=return(nonsense)", "p=sleep", "p=1*"]) {
  Deno.test(`enableFailpoints() refuses "${spec}"`, () => {
    assert.throws(
      () => withFailpoints(spec, () => undefined),
      (error) => error instanceof MusicfsError && error.code === "invalid",
    );
  });
}

Deno.test('failpoint() with "kill" ends the process at once', async () => {
  const module = new URL("../../src/base/failpoint.ts", import.meta.url).href;
  const program = `
    import { enableFailpoints, failpoint } from "${module}";
    enableFailpoints("p=1*off->kill", { random: () => 0, print: console.log });
    failpoint("p");
    console.log("still here");
    failpoint("p");
    console.log("not here");`;
  const { signal, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", program],
    stderr: "inherit",
  }).output();
  assert.equal(signal, "SIGKILL");
  assert.equal(new TextDecoder().decode(stdout), "still here\n");
});
