import assert from "node:assert/strict";
import { join } from "node:path";
import { tempDir } from "../support/temp_dir.ts";
import { isAlive, processesNaming, processesOf } from "./leaks.ts";

Deno.test("processesOf() finds who works in a folder, has a file open there or names one", async () => {
  await using dir = await tempDir("leaks");
  const file = join(dir.path, "file");
  await Deno.writeTextFile(file, "");
  const start = (cwd: string, script: string, ...words: string[]): Deno.ChildProcess =>
    new Deno.Command("bash", {
      args: ["-c", `${script}; echo; read`, "bash", ...words],
      cwd,
      env: { FILE: file },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
  const children = [start(dir.path, ":"), start("/", "exec 5<$FILE"), start("/", ":", file)];
  try {
    for (const child of children) {
      const output = child.stdout.getReader();
      await output.read();
      await output.cancel();
    }
    const found = processesOf(dir.path).map(({ pid }) => pid);
    assert.deepEqual(found.toSorted(), children.map(({ pid }) => pid).toSorted());
    assert.deepEqual(processesNaming(`\0${file}\0`).map(({ pid }) => pid), [children[2]?.pid]);
    assert.ok(children.every(({ pid }) => isAlive(pid)));
  } finally {
    for (const child of children) {
      child.kill("SIGKILL");
      await child.stdin.close().catch(() => undefined);
      await child.status;
    }
  }
  assert.deepEqual(processesOf(dir.path), []);
  assert.ok(!children.some(({ pid }) => isAlive(pid)));
});
