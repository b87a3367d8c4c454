/** `mount -t musicfs` and /etc/fstab, by mount(8) itself and `systemd/mount.musicfs`. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { musicfsCommand, musicfsEnv, startDaemon } from "../support/daemon.ts";
import { type Finished, quoted, run } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeSampleLibrary } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const HELPER = new URL("../../systemd/mount.musicfs", import.meta.url).pathname;

const NEEDS = ["fuse", "root", "mount", "unshare", "diff", "pgrep"] as const;

/**
 * Runs a script in a mount namespace where `/sbin` has the helper and musicfs, with `$dir`,
 * `$origin` and the mountpoint `$mnt`.
 */
async function inScript(script: string): Promise<Finished> {
  await using dir = await tempDir("mount 8");
  await writeSampleLibrary(join(dir.path, "origin"));
  for (const name of ["mnt", "upper", "work"]) await Deno.mkdir(join(dir.path, name));
  const words = musicfsCommand().map(quoted).join(" ");
  await Deno.writeTextFile(join(dir.path, "upper/musicfs"), `#!/bin/sh\nexec ${words} "$@"\n`);
  await Deno.chmod(join(dir.path, "upper/musicfs"), 0o755);
  const logger = join(dir.path, "upper/logger");
  await Deno.writeTextFile(logger, `#!/bin/sh\nexec cat >>${quoted(join(dir.path, "log"))}\n`);
  await Deno.chmod(logger, 0o755);
  await Deno.copyFile(HELPER, join(dir.path, "upper/mount.musicfs"));
  await Deno.symlink("mount.musicfs", join(dir.path, "upper/mount.fuse.musicfs"));
  const path = join(dir.path, "script");
  await Deno.writeTextFile(path, PRELUDE + script);
  return await run("unshare", ["--mount", "--propagation", "private", "bash", path], {
    clearEnv: true,
    env: { ...musicfsEnv(dir.path), dir: dir.path },
  });
}

const PRELUDE = `
set -uo pipefail
sbin=$(readlink -f /sbin)
mount -t tmpfs tmpfs "$dir/work" && mkdir "$dir/work/upper" "$dir/work/work"
cp -a "$dir"/upper/* "$dir/work/upper/"
mount -t overlay -o "lowerdir=$sbin,upperdir=$dir/work/upper,workdir=$dir/work/work" overlay "$sbin"
export origin=$dir/origin mnt=$dir/mnt
# Whatever the outcome, the daemon ends with its mount.
trap 'umount "$mnt" 2>/dev/null' EXIT
gone() { for _ in $(seq 300); do mountpoint -q "$mnt" || return 0; sleep 0.1; done; return 1; }
daemons() { pgrep -fc -- " mount $mnt( |$)"; }
fail() { echo "FAILED: $*"; cat "$dir/log"; exit 1; }
`;

testWith(NEEDS, "mount -t musicfs returns once ls works; umount ends the daemon", async () => {
  const { code, stdout, stderr } = await inScript(`
    mount -t musicfs "$origin" "$mnt" -o "allow_other,cache=on,cache_dir=$dir/cache,noatime" ||
      fail "exit code $?"
    diff -r "$origin" "$mnt" || fail contents
    [ -e "$dir/cache/index" ] || fail "another cache"
    grep -F "$(basename "$mnt") fuse.musicfs" /proc/mounts | grep -q allow_other || fail options
    umount "$mnt" || fail umount
    gone || fail "still mounted"
    for _ in $(seq 300); do [ "$(daemons)" = 0 ] && break; sleep 0.1; done
    [ "$(daemons)" = 0 ] || fail "the daemon lives on"
  `);
  assert.equal(code, 0, stdout + stderr);
});

testWith(
  NEEDS,
  "a line of /etc/fstab is enough for mount, and its options are understood",
  async () => {
    const { code, stdout, stderr } = await inScript(`
    printf 'log_level = "debug"\\n' >"$dir/config.toml"
    for type in musicfs fuse.musicfs; do
      escaped() { printf '%s' "$1" | sed 's/ /\\\\040/g'; }
      options="ro,noauto,nofail,_netdev,x-systemd.mount-timeout=1min,max_size=1G"
      options="$options,cache_dir=$(escaped "$dir")/cache,config=$(escaped "$dir")/config.toml"
      echo "$(escaped "$origin") $(escaped "$mnt") $type $options 0 0" >"$dir/fstab"
      mount -T "$dir/fstab" "$mnt" || fail "$type: exit code $?"
      diff -r "$origin" "$mnt" || fail contents
      mount -T "$dir/fstab" -a -O no_such_option || fail "mount -a"
      umount "$mnt" || fail umount
      for _ in $(seq 300); do [ "$(daemons)" = 0 ] && break; sleep 0.1; done
    done
  `);
    assert.equal(code, 0, stdout + stderr);
  },
);

testWith(
  NEEDS,
  "mount -t musicfs fails with the daemon's own line and mount(8)'s codes",
  async () => {
    const { code, stdout, stderr } = await inScript(`
    mount -t musicfs "$dir/none" "$mnt" -o "cache_dir=$dir/cache" 2>"$dir/error"
    [ $? = 32 ] || fail "exit code for a missing origin"
    [ "$(wc -l <"$dir/error")" = 1 ] || fail "$(cat "$dir/error")"
    grep -q "^musicfs: Cannot read the origin $dir/none: it is missing" "$dir/error" ||
      fail "$(cat "$dir/error")"
    mount -t musicfs "$origin" "$mnt" -o "cache_dir=$dir/cache,cache=perhaps" 2>"$dir/error"
    [ $? = 1 ] || fail "exit code for a wrong option"
    grep -q '^musicfs: .*--cache' "$dir/error" || fail "$(cat "$dir/error")"
    mkdir -p "$dir/other/control.sock/x"
    mount -t musicfs "$origin" "$mnt" -o "cache_dir=$dir/other" 2>"$dir/error"
    [ $? = 32 ] || fail "exit code for a daemon that fails after it has mounted"
    grep -q '^musicfs: .*control.sock' "$dir/error" || fail "$(cat "$dir/error")"
    mount -t musicfs "$origin" "$mnt" -f || fail "a fake mount"
    mountpoint -q "$mnt" && fail "mounted for all that"
    [ "$(daemons)" = 0 ] || fail "a daemon is left"
    exit 0
  `);
    assert.equal(code, 0, stdout + stderr);
  },
);

testWith(["fuse"], "musicfs mount does without a PATH", async () => {
  await using dir = await tempDir("path");
  const origin = join(dir.path, "origin");
  await writeSampleLibrary(origin);
  const prefix = ["/usr/bin/env", "-u", "PATH"];
  await using daemon = await startDaemon({ dir: dir.path, origins: [origin], prefix });
  assert.equal(await daemon.stop(), 0, daemon.log);
});
