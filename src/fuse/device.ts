import { receiveMessage, setInherited, SOCK_STREAM, socketPair } from "../base/descriptors.ts";
import { MusicfsError } from "../base/errors.ts";
import { checked, cString, holding, libc, O_CLOEXEC, O_RDWR, openFile } from "../base/posix.ts";
import { ERRNO } from "./errno.ts";

/** `mount(2)` and `umount2(2)` flags. Source: include/uapi/linux/mount.h. */
const MS_RDONLY = 1n;
const MS_NOSUID = 2n;
const MS_NODEV = 4n;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** Bytes that come with the descriptor: one, and nobody reads it. */
const HELPER_BYTES_MAX = 8;

/** How a mount is made. */
export interface MountOptions {
  mountpoint: string;
  uid: number;
  gid: number;
  /** Lets users other than the one who mounts see it. */
  allowOther: boolean;
}

/**
 * Mounts at an existing folder: root by `mount(2)`, all others by `fusermount3`.
 *
 * @returns the `/dev/fuse` descriptor, close-on-exec, owned by the caller
 */
export async function mountFuse(options: MountOptions): Promise<number> {
  if (options.uid !== 0) return await mountByHelper(options);
  const mounted = mountDirectly(options);
  if (mounted >= 0) return mounted;
  if (mounted === -ERRNO.EPERM) return await mountByHelper(options);
  throw cannotMount(options.mountpoint, `mount(2) failed with errno ${-mounted}`);
}

/** @returns the descriptor, or `-errno` of mount(2); throws if /dev/fuse cannot be opened */
function mountDirectly(options: MountOptions): number {
  const descriptor = openFile("/dev/fuse", O_RDWR);
  if (descriptor < 0) throw cannotOpenDevice(options.mountpoint, -descriptor);
  const data = [
    `fd=${descriptor}`,
    // What the root is taken for until its attributes were asked for.
    "rootmode=40555",
    `user_id=${options.uid}`,
    `group_id=${options.gid}`,
    "default_permissions",
    ...(options.allowOther ? ["allow_other"] : []),
  ].join(",");
  const result = checked(libc.mount(
    cString("musicfs"),
    cString(options.mountpoint),
    cString("fuse.musicfs"),
    MS_RDONLY | MS_NOSUID | MS_NODEV,
    cString(data),
  ));
  if (result >= 0) return descriptor;
  libc.close(descriptor);
  return result;
}

/** `fusermount3` mounts as root and sends the descriptor over the socket `_FUSE_COMMFD`. */
async function mountByHelper(options: MountOptions): Promise<number> {
  const { mountpoint } = options;
  checkDevice(mountpoint);
  const pair = socketPair(SOCK_STREAM);
  if (typeof pair === "number") {
    throw cannotMount(mountpoint, `socketpair failed with errno ${-pair}`);
  }
  const [ours, theirs] = pair;
  setInherited(theirs, true);
  const mountOptions = [
    "ro,nosuid,nodev,default_permissions,fsname=musicfs,subtype=musicfs",
    ...(options.allowOther ? ["allow_other"] : []),
  ].join(",");
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command("fusermount3", {
      args: ["-o", mountOptions, "--", mountpoint],
      env: { _FUSE_COMMFD: String(theirs), LC_ALL: "C" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
  } catch (cause) {
    libc.close(theirs);
    libc.close(ours);
    throw new MusicfsError(
      "denied",
      `Cannot mount at "${mountpoint}": fusermount3 was not found. Install the package fuse3`,
      { op: "fuse.mount", subject: mountpoint, cause },
    );
  }
  libc.close(theirs);
  const [message, { stderr }] = await Promise.all([
    receiveMessage(ours, HELPER_BYTES_MAX),
    child.output(),
  ]);
  libc.close(ours);
  if (message?.descriptor !== undefined) return message.descriptor;
  const [reason = ""] = new TextDecoder().decode(stderr).trim().split("\n");
  throw new MusicfsError(
    "denied",
    `Cannot mount at "${mountpoint}": ${reason || "no descriptor"}`,
    {
      op: "fuse.mount",
      subject: mountpoint,
    },
  );
}

/**
 * Unmounts; with `detach` also under open files, which then get errors.
 *
 * @returns whether it was done; the table of mounts tells what is left if not
 */
export async function unmountFuse(
  mountpoint: string,
  options: { uid: number; detach: boolean },
): Promise<boolean> {
  if (options.uid === 0) {
    const flags = UMOUNT_NOFOLLOW | (options.detach ? MNT_DETACH : 0);
    const path = cString(mountpoint);
    return await holding([path], libc.umount2(path, flags)) === 0;
  }
  const { success } = await new Deno.Command("fusermount3", {
    args: [options.detach ? "-uz" : "-u", "--", mountpoint],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return success;
}

function checkDevice(mountpoint: string): void {
  const descriptor = openFile("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (descriptor < 0) throw cannotOpenDevice(mountpoint, -descriptor);
  libc.close(descriptor);
}

function cannotOpenDevice(mountpoint: string, reason: number): MusicfsError {
  const missing = reason === ERRNO.ENOENT || reason === ERRNO.ENODEV || reason === ERRNO.ENXIO;
  const message = missing
    ? "/dev/fuse is missing. Install fuse3 or load the fuse module"
    : reason === ERRNO.EACCES || reason === ERRNO.EPERM
    ? "/dev/fuse may not be opened. Give its users read and write permission (mode 0666)"
    : `/dev/fuse cannot be opened, errno ${reason}`;
  return cannotMount(mountpoint, message);
}

function cannotMount(mountpoint: string, why: string): MusicfsError {
  return new MusicfsError("denied", `Cannot mount at "${mountpoint}": ${why}`, {
    op: "fuse.mount",
    subject: mountpoint,
  });
}
