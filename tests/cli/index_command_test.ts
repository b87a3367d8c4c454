import assert from "node:assert/strict";
import { join } from "node:path";
import { run } from "../../src/cli/run.ts";
// Loaded here and not by the first command that needs it, which would look like a leak.
import "../../src/mount/index_command.ts";
import { musicfsCommand, musicfsEnv } from "../support/daemon.ts";
import { eventually } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { smallDisk } from "../support/small_disk.ts";
import { tempDir } from "../support/temp_dir.ts";
import { fakeContext, type Ran } from "./fake_context.ts";

Deno.test("musicfs index prints what it found and wrote, and with --json the same as JSON", async () => {
  await using dir = await tempDir("index");
  await Deno.mkdir(join(dir.path, "Ana/@eaDir"), { recursive: true });
  await Deno.writeTextFile(join(dir.path, "Ana/1.flac"), "abc");
  await Deno.writeTextFile(join(dir.path, "Ana/@eaDir/1.flac"), "left out");
  const text = await index([dir.path]);
  assert.equal(text.stderr, "");
  assert.equal(text.code, 0);
  const [first = "", second = ""] = text.stdout.split("\n");
  assert.match(first, /^1 files in 2 folders, 1 added, 0 changed, 0 moved, 0 gone \(\d.* s\)$/);
  assert.match(second, /^\d+ B read; \d+ B of names, \d+ B of chunk lists written$/);
  const json = await index(["Ana", "--json"], { cwd: dir.path });
  assert.equal(json.code, 0);
  const { files, added, failures, interrupted } = JSON.parse(json.stdout);
  assert.deepEqual([files, added, failures, interrupted], [1, 1, [], false]);
  const beside = Array.fromAsync(Deno.readDir(join(dir.path, "Ana/.musicfs")));
  assert.equal((await beside).length, 2);
});

Deno.test("musicfs index says in one line what is in its way", async () => {
  await using dir = await tempDir("index");
  const cases: [words: string[], code: number, says: RegExp][] = [
    [[], 2, /FOLDER/],
    [["ftp://nas/music"], 2, /write a path, file:/],
    [["sftp://nas/music"], 1, /run musicfs on the server itself/],
    [[join(dir.path, "missing")], 1, /its folder does not exist/],
    [[dir.path], 1, /there is no file in it. Is its disk mounted\?/],
  ];
  for (const [words, code, says] of cases) {
    const ran = await index(words);
    assert.equal(ran.code, code, words.join(" "));
    assert.match(ran.stderr, /^musicfs: [^\n]+\n$/);
    assert.match(ran.stderr, says);
  }
});

testWith(["root"], "musicfs index on a disk that fills up keeps the index of before", async () => {
  await using disk = await smallDisk(8 * 2 ** 20);
  await Deno.writeTextFile(join(disk.path, "1.flac"), "abc");
  assert.equal((await index([disk.path])).code, 0);
  const before = await Deno.readFile(join(disk.path, ".musicfs/index"));
  await Deno.writeTextFile(join(disk.path, "2.flac"), "def");
  await disk.fill();
  const full = await index([disk.path]);
  assert.equal(full.code, 1);
  assert.match(full.stderr, /^musicfs: Cannot write ".*\.musicfs\/.*": the disk is full[^\n]+\n$/);
  assert.deepEqual(await Deno.readFile(join(disk.path, ".musicfs/index")), before);
  await disk.free();
  await disk.remount("ro");
  const readOnly = await index([disk.path]);
  assert.equal(readOnly.code, 1);
  assert.match(readOnly.stderr, /the disk is read-only/);
  await disk.remount("rw");
  assert.equal((await index([disk.path])).code, 0);
  const names = (await Array.fromAsync(Deno.readDir(join(disk.path, ".musicfs"))))
    .map(({ name }) => name.replace(/-.*/, "")).sort();
  assert.deepEqual(names, ["chunks", "chunks", "index"], "nothing half written is left");
});

Deno.test("musicfs index that is interrupted publishes what it has and exits with 1", async () => {
  await using dir = await tempDir("index");
  await Deno.writeTextFile(join(dir.path, "1 small.flac"), "abc");
  // Sparse, so that it takes long to read and nothing to keep.
  using great = await Deno.open(join(dir.path, "2 great.flac"), { write: true, create: true });
  await great.truncate(2 ** 36);
  const [program = "", ...words] = musicfsCommand();
  await using child = new Deno.Command(program, {
    args: [...words, "index", dir.path],
    clearEnv: true,
    env: musicfsEnv(dir.path),
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await eventually(() => bytesReadBy(child.pid) > 2 ** 27, {
    ms: 30_000,
    what: "reading of the great file",
  });
  child.kill("SIGINT");
  const { code, stderr } = await child.output();
  assert.equal(code, 1);
  assert.equal(
    new TextDecoder().decode(stderr),
    "musicfs: Interrupted: 1 of 2 files are indexed; run it again to go on\n",
  );
  const { size } = await Deno.stat(join(dir.path, ".musicfs/index"));
  assert.ok(size > 0);
});

function bytesReadBy(pid: number): number {
  const io = Deno.readTextFileSync(`/proc/${pid}/io`);
  return Number(/^rchar: (\d+)$/m.exec(io)?.[1] ?? 0);
}

async function index(words: readonly string[], { cwd = "/" } = {}): Promise<Ran> {
  const { context, printed } = fakeContext({ cwd });
  const code = await run(["index", ...words], context);
  return { code, ...printed };
}
