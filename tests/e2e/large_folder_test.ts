/** A folder of 100,000 files, and 1,000 open files. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { cProgram } from "../support/c_program.ts";
import { startDaemon } from "../support/daemon.ts";
import { output, quoted, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const FILES = 100_000;
const HANDLES = 1_000;

testWith(
  ["fuse", "fusermount3", "gcc", "find"],
  "a folder of 100,000 files is listed once, whole and seekable",
  async () => {
    await using dir = await tempDir("folder");
    const origin = join(dir.path, "origin");
    await Deno.mkdir(join(origin, "all"), { recursive: true });
    await shell(`seq -f 'track %06.0f.flac' ${FILES} | xargs -d '\\n' touch`, {
      cwd: join(origin, "all"),
    });
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    const all = join(daemon.mountpoint, "all");
    const count = async (line: string): Promise<number> => Number(await shell(line));
    assert.equal(await count(`ls -f ${quoted(all)} | wc -l`), FILES + 2);
    assert.equal(await count(`ls -f ${quoted(all)} | sort -u | wc -l`), FILES + 2);
    assert.equal(await count(`find ${quoted(all)} -ls | wc -l`), FILES + 1);
    const seeking = await output(await cProgram("dir_cookies"), [all, "1"]);
    assert.equal(Number(seeking), FILES + 2);
  },
);

testWith(
  ["fuse", "fusermount3", "gcc", "find"],
  "1,000 files are open and read at once",
  async () => {
    await using dir = await tempDir("handles");
    const origin = join(dir.path, "origin");
    await Deno.mkdir(origin);
    await shell(
      `head -c 33000000 /dev/urandom | split -b 33000 -a 4 - origin/track.
     ls -1 origin | head -n ${HANDLES} | tr '\\n' '\\0' >names`,
      { cwd: dir.path },
    );
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin] });
    const program = quoted(await cProgram("open_many"));
    const line = `${program} ${quoted(daemon.mountpoint)} origin <names`;
    assert.equal(Number(await shell(line, { cwd: dir.path })), HANDLES);
  },
);
