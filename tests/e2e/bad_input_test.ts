/** Bad input gets one clear line and an exit code. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfs, musicfsCommand } from "../support/daemon.ts";
import { type Finished, quoted, run, shell } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

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
    before: `printf 'max_size = "1G"\\ncache = [\\n' >config.toml`,
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
  ["fuse", "root", "mount"],
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
    const hide = "mkdir dev && mount --bind dev /dev";
    assertOneLine(await inNamespace(dir.path, hide), 1, /\/dev\/fuse/);
  },
);

testWith(
  ["fuse", "root", "unshare", "setpriv"],
  "bad input: no fusermount3 for an unprivileged user: exit 1 and one line",
  async () => {
    await using dir = await prepared();
    await shell("mkdir bin && chmod 777 . mnt", { cwd: dir.path });
    const finished = await inNamespace(dir.path, "chmod 666 /dev/fuse; export PATH=$PWD/bin", {
      asNobody: true,
    });
    assertOneLine(finished, 1, /fusermount3.*(install|fuse3)/i);
  },
);

testWith(
  ["fuse", "root", "unshare", "setpriv"],
  "bad input: no permission for /dev/fuse: exit 1 and one line",
  async () => {
    await using dir = await prepared();
    await shell("chmod 777 . mnt", { cwd: dir.path });
    const hide = "mount -t tmpfs tmpfs /mnt && mknod -m 600 /mnt/fuse c 10 229 && " +
      "mount --bind /mnt/fuse /dev/fuse";
    const finished = await inNamespace(dir.path, hide, { asNobody: true });
    assertOneLine(finished, 1, /permission|not allowed|denied/i);
  },
);

testWith(
  ["fuse", "root", "setpriv"],
  "bad input: an origin that may not be read: exit 1",
  async () => {
    await using dir = await prepared();
    await shell("chmod 700 origin && chmod 777 . mnt", { cwd: dir.path });
    const finished = await inNamespace(dir.path, "true", { asNobody: true });
    assertOneLine(finished, 1, /origin.*(permission|denied|cannot be read|may not)/i);
  },
);

async function prepared(): Promise<{ path: string } & AsyncDisposable> {
  const dir = await tempDir("bad");
  await writeSampleLibrary(join(dir.path, "origin"));
  await Deno.mkdir(join(dir.path, "mnt"));
  return dir;
}

/**
 * Runs `mount` where `before` was run, in a mount namespace of its own, so that what it hides is
 * hidden from nobody else. `asNobody` gives up root's privileges but not its right to read files,
 * so that the sources can be loaded from wherever they lie.
 */
async function inNamespace(
  dir: string,
  before: string,
  { asNobody = false } = {},
): Promise<Finished> {
  const command = [...musicfsCommand(), ...MOUNT].map(quoted).join(" ");
  const nobody = `/usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups`;
  const line = `cd ${quoted(dir)}; ${before}; exec ${asNobody ? `${nobody} ` : ""}${command}`;
  return await run("unshare", ["--mount", "--propagation", "private", "bash", "-c", line], {
    limitMs: 20_000,
    env: { HOME: dir, XDG_CONFIG_HOME: dir, DENO_DIR: Deno.env.get("DENO_DIR") ?? "" },
  });
}

function assertOneLine({ code, stderr, stdout }: Finished, expected: number, says: RegExp): void {
  assert.match(stderr, says);
  assert.equal(stderr.trim().split("\n").length, 1, `more than a line:\n${stderr}`);
  assert.doesNotMatch(stderr, /\.ts:\d+/, "a stack trace");
  assert.equal(code, expected, stderr + stdout);
}
