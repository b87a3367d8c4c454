import fc from "fast-check";
import assert from "node:assert/strict";
import { musicfsPaths, parseMountInfo, topmostAt } from "../../src/mount/mount_table.ts";

const TABLE = `22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard
90 27 0:50 / /mnt/my\\040music ro,nosuid,nodev,relatime shared:9 master:2 - fuse.musicfs musicfs ro,user_id=1000,group_id=100,default_permissions
91 27 0:51 / /srv/music ro - fuse.musicfs musicfs ro,user_id=0,group_id=0
92 27 0:52 / /srv/music rw - tmpfs tmpfs rw
this line is not one
`;

Deno.test("parseMountInfo() reads our mounts, their owner and odd names", () => {
  const entries = parseMountInfo(TABLE);
  assert.equal(entries.length, 5);
  assert.deepEqual(entries[2], {
    id: 90,
    parentId: 27,
    device: "0:50",
    path: "/mnt/my music",
    type: "fuse.musicfs",
    source: "musicfs",
    userId: 1000,
    groupId: 100,
  });
  assert.equal(entries[0]?.userId, undefined);
});

Deno.test("topmostAt() and musicfsPaths() see only what is not mounted over", () => {
  const entries = parseMountInfo(TABLE);
  assert.equal(topmostAt(entries, "/srv/music")?.type, "tmpfs");
  assert.equal(topmostAt(entries, "/nowhere"), undefined);
  assert.deepEqual(musicfsPaths(entries), ["/mnt/my music"]);
});

Deno.test("parseMountInfo() gives back every path that the kernel escaped", () => {
  fc.assert(fc.property(fc.stringMatching(/^\/[ -~\t\n]{0,40}$/), (path) => {
    const escaped = path.replace(
      /[ \t\n\\#]/g,
      (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`,
    );
    const [entry] = parseMountInfo(`1 2 0:3 / ${escaped} ro - fuse.musicfs musicfs ro`);
    assert.equal(entry?.path, path);
  }));
});
