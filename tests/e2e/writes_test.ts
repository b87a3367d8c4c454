/** Every way to write fails as on a read-only ext4 with the same content. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { cProgram } from "../support/c_program.ts";
import { startDaemon } from "../support/daemon.ts";
import { output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const SEMANTICS = new URL("../../docs/semantics.md", import.meta.url);

for (const cache of ["on", "off"]) {
  testWith(
    ["fuse", "root", "loop", "gcc", "mkfs.ext4", "mount", "setpriv"],
    `every write fails as on a read-only ext4, with --cache ${cache}`,
    async () => {
      await using dir = await tempDir("writes");
      const origin = join(dir.path, "origin");
      await makeTree(origin);
      await using ext4 = await mountExt4(dir.path, origin);
      const args = ["--cache", cache, "--allow-other"];
      await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
      const program = await cProgram("write_calls");
      for (const prefix of [[], ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]]) {
        const [first = "", ...words] = [...prefix, program];
        const theirs = await output(first, [...words, ext4.path]);
        const ours = await output(first, [...words, daemon.mountpoint]);
        assert.ok(theirs.split("\n").length > 90);
        assert.deepEqual(ours.split("\n"), theirs.split("\n"));
        if (prefix.length === 0) await assertDocumented(ours);
      }
      assert.equal(await daemon.stop(), 0);
    },
  );
}

/** docs/semantics.md holds the same table, so that it cannot grow old. */
async function assertDocumented(lines: string): Promise<void> {
  const text = await Deno.readTextFile(SEMANTICS);
  assert.ok(
    text.includes(lines.trim()),
    "docs/semantics.md has other lines than write_calls prints",
  );
}

/** The tree that `write_calls` wants, with the modes musicfs shows. */
async function makeTree(origin: string): Promise<void> {
  await Deno.mkdir(origin);
  await shell(
    `mkdir folder empty && echo inner >folder/inner && ln -s file link
     head -c 10000 /dev/zero >file && chmod 444 file folder/inner && chmod 555 folder empty .`,
    { cwd: origin },
  );
}

async function mountExt4(
  dir: string,
  content: string,
): Promise<{ path: string } & AsyncDisposable> {
  const [image, path] = [join(dir, "ext4.img"), join(dir, "ext4")];
  await output("truncate", ["-s", "8M", image]);
  await output("mkfs.ext4", ["-q", "-d", content, image], {
    env: { PATH: `${Deno.env.get("PATH")}:/usr/sbin:/sbin` },
  });
  await Deno.mkdir(path);
  await output("mount", ["-o", "loop,ro", image, path]);
  return {
    path,
    async [Symbol.asyncDispose](): Promise<void> {
      await output("umount", [path]);
    },
  };
}
