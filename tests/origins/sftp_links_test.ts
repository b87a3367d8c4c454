import assert from "node:assert/strict";
import { judgeLink } from "../../src/origins/sftp_links.ts";

Deno.test("judgeLink() judges by text where the server tells no end, and by the end where it does", () => {
  const link = { path: "a/link", root: "/srv/music", realRoot: "/disk/1" };
  const cases: [
    text: string,
    real: string | undefined,
    seeming?: string | undefined,
    led?: string,
  ][] = [
    ["song", undefined, "/a/song"],
    ["../song", undefined, "/song"],
    ["../../song", undefined],
    ["/srv/music/b/song", undefined, "/b/song"],
    ["/disk/1/song", undefined, "/song"],
    ["/srv/music", undefined, "/"],
    ["/srv/musical", undefined],
    ["/etc/passwd", undefined],
    ["song", "/disk/1/a/song", "/a/song", "/a/song"],
    ["song", "/disk/1/else", "/a/song", "/else"],
    ["song", "/disk/10/song", "/a/song", "outside"],
    ["song", "/disk", "/a/song", "outside"],
    ["/other/name", "/disk/1", undefined, "/"],
    // Servers that resolve no links name the link itself.
    ["song", "/disk/1/a/link", "/a/song"],
    ["song", "/srv/music/a/link", "/a/song"],
    ["so\uFFFDng", "/disk/1/a/song", undefined, "outside"],
    ["so\0ng", undefined, undefined, "outside"],
  ];
  for (const [text, real, seeming, led] of cases) {
    assert.deepEqual(judgeLink({ ...link, text, real }), { seeming, led }, `${text} to ${real}`);
  }
});

Deno.test("judgeLink() knows every path below the root of the server", () => {
  const link = { path: "link", root: "", realRoot: "" };
  assert.deepEqual(judgeLink({ ...link, text: "/a/b", real: "/a/b" }), {
    seeming: "/a/b",
    led: "/a/b",
  });
  assert.deepEqual(judgeLink({ ...link, text: "/", real: "/" }), { seeming: "/", led: "/" });
});
