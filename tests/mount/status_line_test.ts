import assert from "node:assert/strict";
import { statusLine } from "../../src/mount/status_line.ts";

const WELL = { mountpoint: "/mnt", offline: [], givenUp: [], isDegraded: false };

Deno.test("statusLine() names what is not well, and nothing else", () => {
  assert.equal(statusLine(WELL), "Mounted at /mnt");
  assert.equal(
    statusLine({ ...WELL, offline: ["nas", "bucket"], givenUp: ["sweep"], isDegraded: true }),
    "Mounted at /mnt; offline: nas, bucket; the cache disk takes no writes; given up: sweep",
  );
});

Deno.test("statusLine() is one line: what follows a line break is another message to systemd", () => {
  assert.equal(statusLine({ ...WELL, mountpoint: "/a\nSTOPPING=1" }), "Mounted at /a?STOPPING=1");
});
