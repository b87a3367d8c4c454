import assert from "node:assert/strict";
import { OPENER } from "../support/index_opener.ts";
import { quoted, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { ballastBytes } from "../../src/store/ballast.ts";
import { growthBytesMax, overflowPagesOf } from "../../src/store/write_room.ts";

const MIB = 1024 * 1024;

testWith(
  ["root", "unshare", "mount"],
  "Index on a full disk of 20 MiB refuses what does not fit, loses nothing and goes on",
  async () => {
    await using dir = await tempDir("full-disk");
    const program = new URL("../support/index_on_full_disk.ts", import.meta.url).pathname;
    const command = [...OPENER.slice(0, -1), program, dir.path].map(quoted).join(" ");
    const script = `mount -t tmpfs -o size=20m none ${quoted(dir.path)} && exec ${command}`;

    const { code, stdout, stderr } = await run("unshare", ["-m", "bash", "-c", script]);

    // LMDB says on stderr when a write of its own fails; it then may not live to say more.
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "ok\n", stderr: "" });
  },
);

Deno.test("growthBytesMax() counts the pages that are copied, and those of long values", () => {
  const table = { operations: 1, overflowPages: 0, branchPages: 1, leafPages: 100, treeDepth: 2 };
  const pages = (...changes: typeof table[]): number => growthBytesMax(changes, 0) / 4096;
  assert.equal(pages(table), pages() + 5);
  assert.equal(pages({ ...table, operations: 1_000 }), pages() + 103);
  assert.equal(pages({ ...table, overflowPages: overflowPagesOf(100_000) }), pages(table) + 25);
  assert.equal(pages(table, table), pages() + 10);
  assert.equal(overflowPagesOf(1_000), 0);
});

Deno.test("ballastBytes() grows with the index, and is little of a small disk", () => {
  assert.equal(ballastBytes(0, 1_000 * MIB), MIB);
  assert.equal(ballastBytes(16 * MIB, 1_000 * MIB), 2 * MIB);
  assert.equal(ballastBytes(5_000 * MIB, 10_000 * MIB), 8 * MIB);
  assert.equal(ballastBytes(0, 8 * MIB), MIB / 2);
});
