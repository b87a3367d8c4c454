/** Bad input gets one clear line and an exit code. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, musicfsCommand, musicfsEnv } from "../support/daemon.ts";
import { detach } from "../support/mounts.ts";
import { type Finished, quoted, run, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";
import { AS_NOBODY, readableCommand } from "../support/unprivileged.ts";

interface Case {
  name: string;
  /** Words after `musicfs`; the current folder has `origin/` with music, and `mnt/`. */
  args: readonly string[];
  /** Run first, in that folder. */
  before?: string;
  env?: Record<string, string>;
  code: number;
  says: RegExp;
}

const MOUNT = ["mount", "mnt", "--origin", "origin", "--cache-dir", "cache"];

const CASES: readonly Case[] = [
  {
    name: "a missing mountpoint",
    args: ["mount", "nowhere", "--origin", "origin", "--cache-dir", "cache"],
    code: 1,
    says: /nowhere.*(does not exist|missing|no such)/i,
  },
  {
    name: "a mountpoint that is a file",
    before: "touch file",
    args: ["mount", "file", "--origin", "origin", "--cache-dir", "cache"],
    code: 1,
    says: /file.*(not a folder|not a directory)/i,
  },
  {
    name: "no mountpoint",
    args: ["mount", "--origin", "origin"],
    code: 2,
    says: /mountpoint/i,
  },
  {
    name: "no origin",
    args: ["mount", "mnt", "--cache-dir", "cache"],
    code: 2,
    says: /origin/i,
  },
  {
    name: "a local origin that was never seen and cannot be read",
    args: ["mount", "mnt", "--origin", "absent", "--cache-dir", "cache"],
    code: 1,
    says: /absent/,
  },
  {
    name: "an origin of a kind nobody knows",
    args: ["mount", "mnt", "--origin", "gopher://host/music", "--cache-dir", "cache"],
    code: 2,
    says: /gopher/,
  },
  { name: "an unknown option", args: [...MOUNT, "--colour", "red"], code: 2, says: /--colour/ },
  { name: "an unknown command", args: ["mnt"], code: 2, says: /mnt/ },
  { name: "no command", args: [], code: 2, says: /command|--help/i },
  { name: "a bad size", args: [...MOUNT, "--max-size", "20X"], code: 2, says: /20X/ },
  { name: "a negative size", args: [...MOUNT, "--max-size=-1"], code: 2, says: /-1/ },
  { name: "a bad duration", args: [...MOUNT, "--read-timeout", "soon"], code: 2, says: /soon/ },
  { name: "a bad cache mode", args: [...MOUNT, "--cache", "maybe"], code: 2, says: /maybe/ },
  {
    name: "a bad size in the environment",
    args: MOUNT,
    env: { MUSICFS_MAX_SIZE: "lots" },
    code: 2,
    says: /MUSICFS_MAX_SIZE.*lots|lots.*MUSICFS_MAX_SIZE/,
  },
  {
    name: "broken TOML",
    before: `printf 'max_size = "1G"\\ncache = = 3\\n' >config.toml`,
    args: [...MOUNT, "--config", "config.toml"],
    code: 2,
    says: /config\.toml.*\b2\b/,
  },
  {
    name: "an unknown key in the configuration",
    before: `printf 'max_size = "1G"\\n  max_sizes = "1G"\\n' >config.toml`,
    args: [...MOUNT, "--config", "config.toml"],
    code: 2,
    says: /config\.toml.*\b2\b.*\b3\b.*max_sizes|config\.toml.*max_sizes.*\b2\b.*\b3\b/,
  },
  {
    name: "a value of the wrong kind in the configuration",
    before: `printf 'exclude = 3\\n' >config.toml`,
    args: [...MOUNT, "--config", "config.toml"],
    code: 2,
    says: /config\.toml.*exclude/,
  },
  {
    name: "a configuration that is not there",
    args: [...MOUNT, "--config", "absent.toml"],
    code: 2,
    says: /absent\.toml/,
  },
  {
    name: "a cache folder that is a file",
    before: "touch cache",
    args: MOUNT,
    code: 1,
    says: /cache/,
  },
  {
    name: "gc without a cache",
    args: ["gc", "--cache-dir", "absent"],
    code: 1,
    says: /absent/,
  },
];

for (const { name, args, before, env, code, says } of CASES) {
  testWith(["fuse"], `bad input: ${name}: exit ${code} and one line`, async () => {
    await using dir = await prepared();
    if (before) await shell(before, { cwd: dir.path });
    const finished = await musicfs(args, {
      cwd: dir.path,
      home: dir.path,
      limitMs: 20_000,
      env: env ?? {},
    });
    assertOneLine(finished, code, says);
  });
}

testWith(
  ["fuse", "root", "mount", "unshare"],
  "bad input: a busy mountpoint: exit 1 and one line",
  async () => {
    await using dir = await prepared();
    const finished = await inNamespace(dir.path, "mount -t tmpfs tmpfs mnt");
    assertOneLine(finished, 1, /mnt.*(already|busy|in use|mounted)/i);
  },
);

testWith(
  ["fuse", "root", "unshare"],
  "bad input: /dev/fuse is missing: exit 1 and one line",
  async () => {
    await using dir = await prepared();
    const hide = "mkdir dev; mount --bind dev /dev";
    assertOneLine(await inNamespace(dir.path, hide), 1, /\/dev\/fuse/);
  },
);

testWith(
  ["fuse", "root", "unshare", "setpriv"],
  "bad input: no fusermount3 for an unprivileged user: exit 1 and one line",
  async () => {
    await using dir = await prepared();
    const before = `${deviceOfMode("666")}; mkdir none; export PATH=$PWD/none`;
    const finished = await inNamespace(dir.path, before, { asNobody: true });
    assertOneLine(finished, 1, /fusermount3.*(install|fuse3)/i);
  },
);

testWith(
  ["fuse", "root", "fusermount3", "unshare", "setpriv"],
  "bad input: no permission for /dev/fuse: exit 1 and one line",
  async () => {
    await using dir = await prepared();
    const finished = await inNamespace(dir.path, deviceOfMode("600"), { asNobody: true });
    assertOneLine(finished, 1, /permission|not allowed|denied/i);
  },
);

testWith(
  ["fuse", "root", "unshare", "setpriv"],
  "bad input: an origin that may not be read: exit 1 and one line",
  async () => {
    await using dir = await prepared();
    const before = `chmod 700 origin; ${deviceOfMode("666")}`;
    const finished = await inNamespace(dir.path, before, { asNobody: true });
    assertOneLine(finished, 1, /origin.*(permission|denied|cannot be read|may not)/i);
  },
);

/** Shell words that put a `/dev/fuse` of another mode over the machine's, in this namespace. */
function deviceOfMode(mode: string): string {
  return `mount -t tmpfs tmpfs /mnt; mknod /mnt/fuse c 10 229; chmod ${mode} /mnt/fuse; ` +
    "mount --bind /mnt/fuse /dev/fuse";
}

async function prepared(): Promise<{ path: string } & AsyncDisposable> {
  const dir = await tempDir("bad");
  const mountpoint = join(dir.path, "mnt");
  await writeSampleLibrary(join(dir.path, "origin"));
  await Deno.mkdir(mountpoint);
  return {
    path: dir.path,
    async [Symbol.asyncDispose](): Promise<void> {
      // What should have been refused may have been mounted.
      await detach(mountpoint);
      await dir[Symbol.asyncDispose]();
    },
  };
}

/**
 * Runs `mount` after `before`, in a mount namespace of its own, so that what is hidden there is
 * hidden from nobody else.
 */
async function inNamespace(
  dir: string,
  before: string,
  { asNobody = false } = {},
): Promise<Finished> {
  await Deno.chmod(dir, 0o777);
  await Deno.chmod(join(dir, "mnt"), 0o777);
  const command = asNobody ? [...AS_NOBODY, ...await readableCommand(dir)] : musicfsCommand();
  const words = [...command, ...MOUNT].map(quoted).join(" ");
  const line = `set -e; cd ${quoted(dir)}; ${before}; exec ${words}`;
  return await run("unshare", ["--mount", "--propagation", "private", "bash", "-c", line], {
    limitMs: 30_000,
    clearEnv: true,
    env: { ...musicfsEnv(dir), ...(asNobody ? { DENO_DIR: join(dir, "deno") } : {}) },
  });
}

function assertOneLine({ code, stderr, stdout }: Finished, expected: number, says: RegExp): void {
  assert.match(stderr, says);
  assert.equal(stderr.trim().split("\n").length, 1, `more than a line:\n${stderr}`);
  assert.doesNotMatch(stderr, /\.ts:\d+/, "a stack trace");
  assert.equal(code, expected, stderr + stdout);
}
