/** A mount outlives its daemon: the next one is given its descriptor, as systemd's store does it. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { libc } from "../../src/base/posix.ts";
import { Daemon, type DaemonOptions, musicfs, startDaemon } from "../support/daemon.ts";
import { detach, mountsAt } from "../support/mounts.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { type TempDir, tempDir } from "../support/temp_dir.ts";

const NEEDS = ["fuse", "root", "diff"] as const;
const FILE_BYTES = 3_000_000;

/** An origin with a few files, and daemons of one cache and mountpoint, one after another. */
class Line implements AsyncDisposable {
  readonly origin: string;
  readonly mountpoint: string;
  readonly #daemons: Daemon[] = [];

  private constructor(readonly dir: TempDir) {
    this.origin = join(dir.path, "origin");
    this.mountpoint = join(dir.path, "mnt");
  }

  static async begin(): Promise<Line> {
    const line = new Line(await tempDir("takeover"));
    for (let i = 0; i < 3; i += 1) {
      await writeNoise(join(line.origin, `${i}.flac`), { bytes: FILE_BYTES, seed: i });
    }
    return line;
  }

  /** Starts the next daemon, with what the one before stored. */
  async next(more: Partial<DaemonOptions> = {}): Promise<Daemon> {
    const inherited = this.#daemons.at(-1)?.takeStored();
    const options = { dir: this.dir.path, origins: [this.origin], store: { inherited }, ...more };
    try {
      const daemon = await startDaemon(options);
      this.#daemons.push(daemon);
      return daemon;
    } finally {
      if (inherited !== undefined) libc.close(inherited);
    }
  }

  /** Starts a daemon that is not to serve; its exit code and what it wrote. */
  async failing(more: Partial<DaemonOptions> = {}): Promise<{ code: number; log: string }> {
    const inherited = this.#daemons.at(-1)?.takeStored();
    const options = { dir: this.dir.path, origins: [this.origin], store: { inherited }, ...more };
    const daemon = await Daemon.spawn(options);
    this.#daemons.push(daemon);
    const code = await daemon.exitCode();
    if (inherited !== undefined) libc.close(inherited);
    return { code, log: daemon.log };
  }

  mountId(): number | undefined {
    return mountsAt(this.mountpoint).at(-1)?.id;
  }

  async same(file: string): Promise<void> {
    await output("cmp", [join(this.origin, file), join(this.mountpoint, file)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#daemons.reverse()) await daemon[Symbol.asyncDispose]();
    await this.dir[Symbol.asyncDispose]();
  }
}

/** Reads on in a file that is open, up to its end, and holds it to the origin's. */
async function readOn(file: Deno.FsFile, line: Line, name: string): Promise<void> {
  const at = await file.seek(0, Deno.SeekMode.Current);
  const rest = await new Response(file.readable).bytes();
  const all = await Deno.readFile(join(line.origin, name));
  assert.deepEqual(rest, all.subarray(at));
}

testWith(
  NEEDS,
  "a killed daemon's successor goes on with its mount and its open files",
  async () => {
    await using line = await Line.begin();
    const first = await line.next();
    const id = line.mountId();
    const file = await Deno.open(join(line.mountpoint, "0.flac"));
    await file.read(new Uint8Array(100_000));
    await first.kill();
    // Asked for while nobody is there to answer: it waits, and gets no error.
    const waiting = Deno.readFile(join(line.mountpoint, "1.flac"));
    const second = await line.next();
    assert.deepEqual(await waiting, await Deno.readFile(join(line.origin, "1.flac")));
    await readOn(file, line, "0.flac");
    await line.same("2.flac");
    assert.equal(line.mountId(), id);
    assert.match(second.log, /Took over the mount/);
    const status = await musicfs(["status", "--json", "--cache-dir", second.cacheDir]);
    assert.equal(JSON.parse(status.stdout).takeovers, 1);
    assert.equal(await second.stop(), 0);
    assert.equal(line.mountId(), undefined);
  },
);

testWith(
  NEEDS,
  "SIGUSR1 leaves the mount to a successor; a change in between is seen",
  async () => {
    await using line = await Line.begin();
    let daemon = await line.next();
    const id = line.mountId();
    for (let round = 0; round < 3; round += 1) {
      const file = await Deno.open(join(line.mountpoint, "0.flac"));
      await file.read(new Uint8Array(1));
      assert.equal(await daemon.stop("SIGUSR1"), 0);
      await writeNoise(join(line.origin, "1.flac"), {
        bytes: FILE_BYTES + round,
        seed: 10 + round,
      });
      daemon = await line.next();
      await readOn(file, line, "0.flac");
      await eventually(
        async () => (await Deno.stat(join(line.mountpoint, "1.flac"))).size === FILE_BYTES + round,
        { ms: 20_000, what: "the change is seen" },
      );
      await line.same("1.flac");
    }
    assert.equal(line.mountId(), id);
  },
);

testWith(
  NEEDS,
  "a successor with another index mounts anew, for node ids are other files",
  async () => {
    await using line = await Line.begin();
    const first = await line.next();
    await line.same("0.flac");
    using file = await Deno.open(join(line.mountpoint, "2.flac"));
    const id = line.mountId();
    await first.kill();
    await Deno.remove(join(first.cacheDir, "index"), { recursive: true });
    const second = await line.next();
    assert.notEqual(line.mountId(), id);
    assert.match(second.log, /Mounted anew.*index was made again/);
    await line.same("0.flac");
    await line.same("1.flac");
    await assert.rejects(file.read(new Uint8Array(1)), "the old handle names nothing now");
  },
);

testWith(NEEDS, "a mount whose record is lost is made anew", async () => {
  await using line = await Line.begin();
  const first = await line.next();
  const id = line.mountId();
  // What is open keeps the old mount's number from being given to the next.
  using _file = await Deno.open(join(line.mountpoint, "0.flac"));
  await first.kill();
  await Deno.writeTextFile(join(first.cacheDir, "session.json"), "{");
  const second = await line.next();
  assert.notEqual(line.mountId(), id);
  assert.equal(mountsAt(line.mountpoint).length, 1);
  assert.match(second.log, /Mounted anew/);
  await line.same("0.flac");
});

testWith(NEEDS, "a mount that was taken away while no daemon was there stays away", async () => {
  await using line = await Line.begin();
  const first = await line.next();
  await first.kill();
  await detach(line.mountpoint);
  const { code, log } = await line.failing();
  assert.equal(code, 0);
  assert.match(log, /taken away while no daemon served it/);
  assert.equal(line.mountId(), undefined);
});

testWith(NEEDS, "after five deaths right after a takeover the mount is given up", async () => {
  await using line = await Line.begin();
  const first = await line.next();
  const stored = first.takeStored();
  assert.ok(stored !== undefined);
  await first.kill();
  const env = { MUSICFS_FAILPOINTS: "daemon.takeover=kill" };
  const store = { inherited: stored };
  for (let death = 0; death < 5; death += 1) {
    assert.equal((await line.failing({ env, store })).code, 137);
    assert.ok(line.mountId() !== undefined, "readers still wait");
  }
  const { code, log } = await line.failing({ store });
  libc.close(stored);
  assert.equal(code, 3);
  assert.match(log, /given up/);
  assert.equal(line.mountId(), undefined);
  await line.next();
  await line.same("0.flac");
});

testWith(NEEDS, "a successor that served for a while is not counted as a death", async () => {
  await using line = await Line.begin();
  let daemon = await line.next();
  const id = line.mountId();
  for (let round = 0; round < 7; round += 1) {
    await daemon.kill();
    daemon = await line.next();
    const record = join(daemon.cacheDir, "session.json");
    if (round % 4 !== 3) continue;
    await eventually(
      async () => JSON.parse(await Deno.readTextFile(record)).quickDeaths === 0,
      { ms: 20_000, what: "the count is taken back" },
    );
  }
  assert.equal(line.mountId(), id);
  await line.same("1.flac");
});

testWith(NEEDS, "a FUSE worker that dies is replaced, and one reader gets EIO", async () => {
  await using line = await Line.begin();
  const env = { MUSICFS_FAILPOINTS: "fuse.request=60*off->1*panic(bug)" };
  const daemon = await line.next({ env });
  let failed = 0;
  for (let i = 0; i < 200 && failed === 0; i += 1) {
    await Deno.stat(join(line.mountpoint, `none ${i}`)).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) failed += 1;
    });
  }
  assert.equal(failed, 1);
  await line.same("0.flac");
  await line.same("1.flac");
  assert.match(daemon.log, /FUSE worker died and is replaced/);
  assert.equal(await daemon.stop(), 0);
});
