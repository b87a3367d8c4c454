import assert from "node:assert/strict";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import { type FolderHint, FolderWatch } from "../../src/origins/folder_watch.ts";
import { decodeEvents } from "../../src/origins/inotify.ts";
import { LocalOrigin } from "../../src/origins/local.ts";
import { WatchedFolders } from "../../src/origins/watched_folders.ts";
import { eventually, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { type TempDir, tempDir } from "../support/temp_dir.ts";

/** A real folder with a watch, and all it told. */
class Rig implements AsyncDisposable {
  readonly hints: FolderHint[] = [];
  readonly losses: string[] = [];
  readonly lines: string[] = [];
  readonly watch: FolderWatch;

  private constructor(readonly dir: TempDir, isLocal: boolean) {
    const tell = (line: string): void => void this.lines.push(line);
    const log: Log = { ...silentLog, info: tell, warning: tell };
    this.watch = new FolderWatch({
      name: "nas",
      root: this.root,
      hidden: new Set([".musicfs", "@eaDir"]),
      isLocal: () => Promise.resolve(isLocal),
      clock: systemClock,
      log,
    });
    this.watch.listen({
      hint: (hint) => this.hints.push(hint),
      lost: (why) => this.losses.push(why),
    });
  }

  static async open({ isLocal = true } = {}): Promise<Rig> {
    const dir = await tempDir("watch");
    await Deno.mkdir(join(dir.path, "root"));
    return new Rig(dir, isLocal);
  }

  get root(): string {
    return join(this.dir.path, "root");
  }

  async add(...folders: string[]): Promise<void> {
    for (const folder of folders) await this.watch.add(folder);
  }

  async run(line: string): Promise<void> {
    await shell(line, { cwd: this.root });
  }

  /** What was told of a folder so far; waits until `holds` says that it is enough. */
  async told(holds: (folders: string[]) => boolean): Promise<string[]> {
    const folders = (): string[] => [...new Set(this.hints.map(wordOf))].toSorted();
    await eventually(() => holds(folders()), { ms: 10_000, what: `more than ${folders()}` });
    return folders();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watch[Symbol.asyncDispose]();
    await this.dir[Symbol.asyncDispose]();
  }
}

function wordOf({ folder, isNew, isGone, isMove }: FolderHint): string {
  return `${folder || "/"}${isNew ? " new" : ""}${isGone ? " gone" : ""}${isMove ? " move" : ""}`;
}

Deno.test("decodeEvents() takes events of a buffer apart, and leaves out a torn one", () => {
  const bytes = new Uint8Array(100);
  const view = new DataView(bytes.buffer);
  const put = (at: number, watch: number, mask: number, name: string): void => {
    view.setInt32(at, watch, true);
    view.setUint32(at + 4, mask, true);
    view.setUint32(at + 12, name === "" ? 0 : 16, true);
    bytes.set(new TextEncoder().encode(name), at + 16);
  };
  put(0, 1, 0x100, "Öre");
  put(32, -1, 0x4000, "");
  put(48, 2, 0x40000200, "exactly15bytes!");
  put(80, 3, 0x8, "torn");
  assert.deepEqual([...decodeEvents(bytes)], [
    { watch: 1, mask: 0x100, name: "Öre" },
    { watch: -1, mask: 0x4000, name: "" },
    { watch: 2, mask: 0x40000200, name: "exactly15bytes!" },
  ]);
});

Deno.test("FolderWatch tells of what is made, written, touched, moved and removed", async () => {
  await using rig = await Rig.open();
  await rig.run("mkdir -p a b c && touch a/track b/old c/time");
  await rig.add("", "a", "b", "c");
  await rig.run("echo more >>a/track");
  const growing = (is: boolean): boolean => rig.hints.some(({ isGrowing }) => isGrowing === is);
  await eventually(() => growing(true) && growing(false), { ms: 10_000, what: "both" });
  await rig.run("touch -d 2001-01-01 c/time && mv b/old b/new && rm b/new && mkdir -p d");
  const told = await rig.told((told) => told.includes("d new"));
  assert.deepEqual(told, ["/", "a", "b gone", "b gone move", "b move", "c", "d new"]);
  assert.deepEqual(rig.losses, []);
});

Deno.test("FolderWatch says nothing of hidden names, nor of who only reads", async () => {
  await using rig = await Rig.open();
  await rig.run("mkdir a && echo track >a/track");
  await rig.add("", "a");
  await rig.run(
    "mkdir .musicfs a/@eaDir && touch .musicfs/x && cat a/track && ls -R . && mkdir last",
  );
  assert.deepEqual(await rig.told((told) => told.includes("last new")), ["/", "last new"]);
});

Deno.test("FolderWatch tells where a folder is now that was renamed, with all below", async () => {
  await using rig = await Rig.open();
  await rig.run("mkdir -p a/b/c");
  await rig.add("", "a", "a/b", "a/b/c");
  await rig.run("mv a z && mkdir -p a/b/c");
  const told = await rig.told((told) => told.includes("a new"));
  assert.deepEqual(told, ["/", "/ gone move", "/ move", "a new", "z new move"]);
  await eventually(() => rig.watch.folders === 1, { ms: 5_000, what: "old watches ended" });
  await rig.add("z", "z/b", "z/b/c", "a", "a/b");
  rig.hints.length = 0;
  await rig.run("touch z/b/c/track a/b/other");
  assert.deepEqual(await rig.told((told) => told.length >= 2), ["a/b", "z/b/c"]);
});

Deno.test("FolderWatch forgets folders that were removed or went elsewhere", async () => {
  await using rig = await Rig.open();
  await rig.run("mkdir -p a/b c/d e");
  await rig.add("", "a", "a/b", "c", "c/d", "e");
  assert.equal(rig.watch.folders, 6);
  await rig.run("rm -r a && mv c ../away && touch e/track");
  await rig.told((told) => told.includes("e"));
  await eventually(() => rig.watch.folders === 2, { ms: 5_000, what: "two folders" });
  assert(rig.watch.isAnew("a") && rig.watch.isAnew("c/d") && !rig.watch.isAnew("e"));
});

Deno.test("FolderWatch ends with its root, and begins anew when that is listed again", async () => {
  await using rig = await Rig.open();
  await rig.run("mkdir a");
  await rig.add("", "a");
  await shell("mv root away && mkdir -p root/a", { cwd: rig.dir.path });
  await eventually(() => rig.losses.length > 0, { ms: 10_000, what: "the loss" });
  assert.equal(rig.watch.state, "idle");
  await rig.add("", "a");
  assert.equal(rig.watch.state, "watching");
  await rig.run("touch ../away/a/elsewhere a/track");
  assert.deepEqual(await rig.told((told) => told.includes("a")), ["a"]);
  await shell("rm -r root", { cwd: rig.dir.path });
  await eventually(() => rig.watch.folders === 0, { ms: 10_000, what: "the end" });
});

Deno.test("FolderWatch leaves a network's disk to polling", async () => {
  await using rig = await Rig.open({ isLocal: false });
  await rig.add("", "a");
  assert.deepEqual([rig.watch.state, rig.watch.folders], ["polled", 0]);
  assert.equal(rig.watch.isAnew("a"), false);
});

Deno.test("WatchedFolders puts the watch before it lists: nothing falls between", async () => {
  await using rig = await Rig.open();
  await rig.run("mkdir a");
  await using local = await LocalOrigin.open("nas", rig.root, { log: silentLog });
  const origin = new WatchedFolders(local, rig.watch);
  const seen = new Set<string>();
  const { signal } = new AbortController();
  let isOver = false;
  const making = (async (): Promise<void> => {
    for (let i = 0; i < 300; i += 1) await Deno.writeTextFile(join(rig.root, "a", `${i}`), "");
    isOver = true;
  })();
  for await (const { path } of origin.list("a", { signal })) seen.add(path);
  const before = rig.hints.length;
  await making;
  assert(isOver);
  if (seen.size < 300) {
    await eventually(() => rig.hints.length > before, { ms: 10_000, what: "a hint of the rest" });
  }
  rig.hints.length = 0;
  assert.equal((await origin.stat("a", { signal })).kind, "folder");
  assert.equal(rig.watch.folders, 1, "once");
});

testWith(
  ["unshare"],
  "FolderWatch says what to raise when the kernel has no more watches",
  async () => {
    await using dir = await tempDir("limit");
    await shell("mkdir -p root/{1..9}", { cwd: dir.path });
    const child = new URL("./folder_watch_child.ts", import.meta.url).pathname;
    const line = `echo 5 >/proc/sys/user/max_inotify_watches && exec "$0" run -A --no-check "$@"`;
    const words = ["-Ur", "bash", "-c", line, Deno.execPath(), child, join(dir.path, "root")];
    const { stdout, stderr } = await new Deno.Command("unshare", { args: words }).output();
    const text = new TextDecoder().decode(stdout);
    assert.match(text, /fs\.inotify\.max_user_watches/, new TextDecoder().decode(stderr));
    assert.match(text, /limited 5 folders/);
  },
);
