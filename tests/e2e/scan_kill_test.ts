/** A scan killed with SIGKILL wherever it can be: the next one goes on, and all is told once. */

import assert from "node:assert/strict";
import { Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { failpointsIn } from "../support/failpoints.ts";
import { treeInFolder, treeInIndex } from "../support/index_tree.ts";
import { type Finished, output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";

/** Exit code of what SIGKILL ended. */
const KILLED = 137;

/** More files than one commit takes: a great folder is committed, moved and removed in pieces. */
const GREAT = 2_100;

/** What a user has done since the last scan. */
const COUNTS = { added: 3, changed: 2, moved: GREAT + 4, gone: GREAT + 1 };

async function makeOrigin(origin: string): Promise<void> {
  await shell(
    `mkdir -p great rest keep/a keep/b/deep "old name/disc 1"
     for i in $(seq ${GREAT}); do echo $i >great/$i; echo $i >rest/$i; done
     for i in 1 2 3; do echo $i$i >keep/a/$i; echo $i$i$i >keep/b/deep/$i; done
     for i in 1 2 3; do echo same >"old name/disc 1/$i"; done
     for i in $(seq 30); do mkdir -p many/$i; echo $i >many/$i/song; done`,
    { cwd: origin },
  );
}

async function changeOrigin(origin: string): Promise<void> {
  await shell(
    `mv great big
     rm -r rest keep/b/deep/3
     mv "old name" "new name"
     mv keep/a/1 keep/b/one
     echo longer >keep/a/2 && touch -d 2001-01-01 keep/a/3
     mkdir -p new/deep && echo 1 >new/1 && echo 2 >new/deep/2 && echo 3 >keep/new`,
    { cwd: origin },
  );
}

/** Lines that tell of a change, of those that a scan printed. */
function told({ stdout }: Finished): string[] {
  return stdout.split("\n").filter((line) => /^(added|changed|moved|gone) /.test(line));
}

/** Places of the code and which of their hits: the first and the last. */
async function hitsOf(
  scan: (failpoints: string) => Promise<Finished>,
): Promise<[string, number][]> {
  const names = await failpointsIn("scan.");
  const { stderr, code } = await scan(names.map((name) => `${name}=print`).join(";"));
  assert.equal(code, 0, stderr);
  return names.flatMap((name) => {
    const count = stderr.split("\n").filter((line) => line.includes(`Failpoint ${name} `)).length;
    assert(count > 0, `nothing here comes to ${name}: let the test do what does`);
    const hits = new Set([1, count]);
    return [...hits].map((hit): [string, number] => [name, hit]);
  });
}

testWith(
  ["find"],
  "scan killed at every failpoint goes on, and tells of each file once",
  async (t) => {
    await using dir = await tempDir("scan-kill");
    const [origin, cache] = [`${dir.path}/origin`, `${dir.path}/cache`];
    await Deno.mkdir(origin);
    await makeOrigin(origin);
    const scan = (cache: string, failpoints = "", ...words: string[]): Promise<Finished> =>
      musicfs(["scan", "--origin", origin, "--cache-dir", cache, ...words], {
        env: failpoints === "" ? {} : { MUSICFS_FAILPOINTS: failpoints },
      });
    assert.equal((await scan(cache)).code, 0);
    await changeOrigin(origin);
    const expected = await treeInFolder(origin);
    const copy = `${dir.path}/copy`;
    const restore = (): Promise<string> =>
      shell(`rm -rf copy && cp -a cache copy`, { cwd: dir.path });

    await restore();
    const points = await hitsOf((failpoints) => scan(copy, failpoints));
    await restore();
    const undisturbed = told(await scan(copy)).toSorted();
    assert.equal(undisturbed.length, Object.values(COUNTS).reduce((sum, count) => sum + count));
    assert.deepEqual(await treeInIndex(copy), expected);

    for (const [name, hit] of points) {
      await t.step(`${name}, hit ${hit}`, async () => {
        await restore();
        const first = await scan(copy, `${name}=${hit - 1}*off->kill`);
        assert.equal(first.code, KILLED, first.stderr);
        const second = await scan(copy, "");
        assert.equal(second.code, 0, second.stderr);
        assert.deepEqual(await treeInIndex(copy), expected);
        assert.deepEqual([...told(first), ...told(second)].sort(), undisturbed);
        const line = second.stdout.split("\n").find((line) => line.includes(" files in ")) ?? "";
        const counts = Object.fromEntries(
          Object.keys(COUNTS).map((name) => [name, countIn(line, name)]),
        );
        assert.deepEqual(counts, COUNTS, line);
        const third = JSON.parse((await scan(copy, "", "--json")).stdout);
        assert.deepEqual([third.added, third.changed, third.moved, third.gone], [0, 0, 0, 0]);
      });
    }
  },
);

testWith(
  ["fuse", "fusermount3", "diff"],
  "a daemon whose scan kills it leaves what the next one makes right",
  async () => {
    await using dir = await tempDir("scan-kill-daemon");
    const origin = `${dir.path}/origin`;
    await shell(
      `mkdir -p origin/a origin/b/c && for i in 1 2 3; do echo $i >origin/a/$i; done
       echo 4 >origin/b/c/4`,
      { cwd: dir.path },
    );
    const origins = [origin];
    {
      await using daemon = await startDaemon({ dir: dir.path, origins });
      assert.equal((await musicfs(["scan", "--cache-dir", daemon.cacheDir])).code, 0);
    }
    await shell(`mv a z && rm -r b && mkdir d && echo 5 >d/5`, { cwd: origin });
    for (const name of ["scan.after_begin", "scan.within_moves", "scan.before_end"]) {
      const env = { MUSICFS_FAILPOINTS: `${name}=kill` };
      await using daemon = await Daemon.spawn({ dir: dir.path, origins, env });
      await daemon.exitCode();
    }
    await using daemon = await startDaemon({ dir: dir.path, origins });
    assert.equal((await musicfs(["scan", "--cache-dir", daemon.cacheDir])).code, 0);
    await output("diff", ["-r", origin, daemon.mountpoint]);
    const listed = await output("find", [daemon.mountpoint, "-type", "f", "-printf", "%P\n"]);
    assert.deepEqual(listed.trim().split("\n").sort(), ["d/5", "z/1", "z/2", "z/3"]);
  },
);

function countIn(line: string, what: string): number {
  return Number((new RegExp(`([\\d,.\\s]+) ${what}`).exec(line)?.[1] ?? "").replace(/\D/g, ""));
}
