/** The systemd units, as systemd itself reads them. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const SYSTEMD_DIR = new URL("../../systemd", import.meta.url).pathname;

const NAMES = ["musicfs@", "musicfs-check@"] as const;

const MANAGERS = [
  { folder: ".", manager: "--system" },
  { folder: "user", manager: "--user" },
] as const;

for (const { folder, manager } of MANAGERS) {
  for (const name of NAMES) {
    testWith(
      ["systemd-analyze"],
      `${manager} ${name}.service is what systemd understands`,
      async () => {
        await using dir = await tempDir("units");
        for (const unit of NAMES) {
          const text = await Deno.readTextFile(join(SYSTEMD_DIR, folder, `${unit}.service`));
          // The command is not installed here; everything else is judged as it stands.
          const known = text.replaceAll(/=(-?)(\/usr\/bin\/)?musicfs /g, "=$1/bin/true ");
          await Deno.writeTextFile(join(dir.path, `${unit}.service`), known);
        }
        const { code, stdout, stderr } = await run(
          "systemd-analyze",
          ["verify", manager, "--man=no", join(dir.path, `${name}srv-music.service`)],
          { env: { XDG_RUNTIME_DIR: dir.path } },
        );
        assert.equal(stdout + stderr, "");
        assert.equal(code, 0);
      },
    );
  }
}

testWith(["systemd-analyze"], "systemd/musicfs.sysusers makes a user without a shell", async () => {
  await using dir = await tempDir("sysusers");
  await Deno.mkdir(join(dir.path, "etc"));
  const file = join(SYSTEMD_DIR, "musicfs.sysusers");
  const { code, stderr } = await run("systemd-sysusers", [`--root=${dir.path}`, file]);
  assert.equal(code, 0, stderr);
  const users = await Deno.readTextFile(join(dir.path, "etc/passwd"));
  assert.match(users, /^musicfs:x:\d+:\d+:musicfs daemon:\/var\/cache\/musicfs:.*nologin$/m);
});
