/** The systemd units, as systemd itself reads them. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const SYSTEMD_DIR = new URL("../../systemd", import.meta.url).pathname;

const UNITS = [
  { path: "musicfs@.service", manager: "--system" },
  { path: "user/musicfs@.service", manager: "--user" },
] as const;

for (const { path, manager } of UNITS) {
  testWith(["systemd-analyze"], `systemd/${path} is what systemd understands`, async () => {
    await using dir = await tempDir("units");
    const text = await Deno.readTextFile(join(SYSTEMD_DIR, path));
    const copy = join(dir.path, "musicfs@.service");
    // The command is not installed here; everything else is judged as it stands.
    await Deno.writeTextFile(
      copy,
      text.replaceAll(/=(-?)(\/usr\/bin\/)?musicfs /g, "=$1/bin/true "),
    );
    const { code, stdout, stderr } = await run(
      "systemd-analyze",
      ["verify", manager, "--man=no", join(dir.path, "musicfs@srv-music.service")],
      { env: { XDG_RUNTIME_DIR: dir.path } },
    );
    assert.equal(stdout + stderr, "");
    assert.equal(code, 0);
  });
}
