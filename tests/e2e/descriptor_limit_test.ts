/** Row C5: too few descriptors for all that is open. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { cProgram } from "../support/c_program.ts";
import { musicfs, startDaemon } from "../support/daemon.ts";
import { eventually, quoted, run, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

const HANDLES = 1_000;
const READERS = 100;

/** Put before a command, it has a soft and a hard limit. */
function limited(soft: number, hard = soft): string[] {
  return ["bash", "-c", `ulimit -S -n ${soft} && ulimit -H -n ${hard} && exec "$@"`, "limited"];
}

for (const cache of ["on", "auto"]) {
  testWith(
    ["fuse", "fusermount3", "gcc", "find"],
    `a daemon of 256 descriptors serves 1,000 open files and 100 readers, --cache ${cache}`,
    async () => {
      await using dir = await tempDir("descriptors");
      const origin = join(dir.path, "origin");
      await Deno.mkdir(origin);
      await shell(
        `head -c 33000000 /dev/urandom | split -b 33000 -a 4 - origin/track.
         ls -1 origin | head -n ${HANDLES} | tr '\\n' '\\0' >names`,
        { cwd: dir.path },
      );
      await using daemon = await startDaemon({
        dir: dir.path,
        origins: [origin],
        args: ["--cache", cache],
        prefix: limited(256),
      });
      const program = quoted(await cProgram("open_many"));
      const line = `${program} ${quoted(daemon.mountpoint)} origin <names`;
      assert.equal(Number(await shell(line, { cwd: dir.path })), HANDLES);

      const compare = `ls -1 origin | xargs -P ${READERS} -n 10 sh -c '
        for name; do cmp "origin/$name" "$MOUNT/$name" || exit 255; done' sh`;
      await shell(compare, { cwd: dir.path, env: { MOUNT: daemon.mountpoint } });
      const status = await musicfs(["status", "--json", daemon.mountpoint], { home: dir.path });
      assert.equal(status.code, 0, status.stderr);
      assert.equal(await daemon.stop(), 0, daemon.log);
    },
  );
}

testWith(
  ["fuse", "fusermount3"],
  "a daemon raises its soft limit on descriptors to the hard one",
  async () => {
    await using dir = await tempDir("descriptors");
    await Deno.mkdir(join(dir.path, "origin"));
    await using daemon = await startDaemon({
      dir: dir.path,
      origins: [join(dir.path, "origin")],
      prefix: limited(128, 5_000),
    });
    const limits = await Deno.readTextFile(`/proc/${await daemon.pid()}/limits`);
    assert.match(limits, /Max open files +5000 +5000 /);
  },
);

testWith(
  ["fuse", "fusermount3"],
  "connections to the control socket do not take a daemon's last descriptors",
  async () => {
    await using dir = await tempDir("descriptors");
    await Deno.mkdir(join(dir.path, "origin"));
    await using daemon = await startDaemon({
      dir: dir.path,
      origins: [join(dir.path, "origin")],
      prefix: limited(128),
    });
    const path = `${daemon.cacheDir}/control.sock`;
    const connections: Deno.UnixConn[] = [];
    for (let i = 0; i < 200; i += 1) {
      connections.push(await Deno.connect({ transport: "unix", path }));
    }
    const pid = await daemon.pid();
    await eventually(async () => await waiting(path) === 0, { ms: 30_000, what: "all accepted" });
    const open = (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
    assert(open < 100, `${open} are open`);

    for (const connection of connections) connection.close();
    await eventually(
      async () => (await musicfs(["status", daemon.mountpoint], { home: dir.path })).code === 0,
      { ms: 30_000, what: "status" },
    );
    assert.equal(await daemon.stop(), 0, daemon.log);
  },
);

/** Connections to a Unix socket that nobody has accepted yet. */
async function waiting(path: string): Promise<number> {
  const text = await Deno.readTextFile("/proc/net/unix");
  // State 02 is one that is being connected.
  return text.split("\n").filter((line) => line.endsWith(path) && / 02 \d+ /.test(line)).length;
}

testWith(
  ["root"],
  "serveControl() goes on after nobody could connect for want of descriptors",
  async () => {
    await using dir = await tempDir("descriptors");
    const script = new URL("../support/control_without_descriptors.ts", import.meta.url).pathname;
    const program = [Deno.execPath(), "run", "-A", "--cached-only", script, `${dir.path}/c.sock`];
    const [bash = "", ...words] = [...limited(100), ...program];
    const { code, stdout, stderr } = await run(bash, words, { cwd: dir.path });
    assert.deepEqual(
      { code, stdout },
      { code: 0, stdout: "refused once, then answered\n" },
      stderr,
    );
  },
);
