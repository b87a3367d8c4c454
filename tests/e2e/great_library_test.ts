/** Row E7: a daemon that knows a great library is up as soon, and takes hardly more memory. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, startDaemon } from "../support/daemon.ts";
import { output, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { rounds } from "../support/scale.ts";
import { tempDir } from "../support/temp_dir.ts";

const FILES_PER_FOLDER = 100;

/** Folders of the small library and of the great one. */
const SMALL = 10;
const GREAT = rounds({ ci: 1_500, long: 10_000 });

/** How much more memory the great library may take, in MiB: less than 300 bytes a file. */
const OWN_MIB_MORE_MAX = 40;

/** What a daemon took. */
interface Taken {
  /** Processor time until `READY=1`, in s: what does not depend on who else is busy. */
  startS: number;
  /** Memory of its own, in MiB, once every name was listed. */
  ownMiB: number;
}

testWith(
  ["fuse", "fusermount3", "find"],
  "a great library is mounted as soon as a small one, and takes hardly more memory",
  async () => {
    await using dir = await tempDir("great");
    const small = await mounted(join(dir.path, "small"), SMALL);
    const great = await mounted(join(dir.path, "great"), GREAT);
    const told = JSON.stringify({ small, great });
    assert.ok(great.startS < 2 * small.startS + 0.5, told);
    assert.ok(great.ownMiB < small.ownMiB + OWN_MIB_MORE_MAX, told);
  },
);

/** Mounts what was known of an origin that is not there any more, and lists all of it. */
async function mounted(dir: string, folders: number): Promise<Taken> {
  await Deno.mkdir(dir, { recursive: true });
  await learn(join(dir, "cache/index"), folders);
  const config = join(dir, "config.toml");
  await Deno.writeTextFile(config, `[[origin]]\nname = "bucket"\nurl = "${dir}/absent"\n`);
  await using daemon = await startDaemon({ dir, origins: [], args: ["--config", config] });
  const startS = await processorSeconds(daemon);
  const listed = await shell(`find . -type f | wc -l`, { cwd: daemon.mountpoint });
  assert.equal(Number(listed), folders * FILES_PER_FOLDER);
  const status = await Deno.readTextFile(`/proc/${await daemon.pid()}/status`);
  const ownMiB = Number(/RssAnon:\s+(\d+)/.exec(status)?.[1]) / 1024;
  assert.equal(await daemon.stop(), 0, daemon.log);
  return { startS, ownMiB };
}

/** Scans a tree that exists nowhere into an index. */
async function learn(index: string, folders: number): Promise<void> {
  await Deno.mkdir(index, { recursive: true });
  const child = new URL("../library/great_scan_child.ts", import.meta.url).pathname;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const numbers = [folders, FILES_PER_FOLDER].map(String);
  const words = ["run", "-A", "--no-check", "--config", config, child, index, ...numbers];
  await output(Deno.execPath(), words);
}

/** User and system time. Source: proc(5), `/proc/pid/stat`; 100 ticks a second. */
async function processorSeconds(daemon: Daemon): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${await daemon.pid()}/stat`);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
