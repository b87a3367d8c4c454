/** Whether a mount can be made, for `musicfs doctor`. */

import { failed, type Finding, ok, skipped, warning } from "./doctor.ts";

const ENOENT = 2;
const ENXIO = 6;
const EACCES = 13;
const EPERM = 1;
const ENODEV = 19;

/** What opening /dev/fuse came to; `filesystems` is the text of /proc/filesystems. */
export function judgeDevice(
  { errno, filesystems, isRoot }: { errno: number; filesystems: string; isRoot: boolean },
): Finding {
  const isKnown = /^nodev\tfuse$/m.test(filesystems);
  switch (errno) {
    case 0:
      return ok("/dev/fuse can be opened");
    case ENOENT:
      return isKnown
        ? failed(
          "/dev/fuse is missing, the kernel has FUSE",
          "mknod /dev/fuse c 10 229, or in a container: --device /dev/fuse",
        )
        : failed("/dev/fuse is missing", "modprobe fuse; in a container: --device /dev/fuse");
    case ENODEV:
    case ENXIO:
      return failed("the kernel's FUSE module is not loaded", "modprobe fuse");
    case EACCES:
    case EPERM:
      return isRoot
        ? failed("root may not open /dev/fuse", "in a container: --device /dev/fuse")
        : failed("this user may not open /dev/fuse", "as root: chmod 0666 /dev/fuse");
    default:
      return failed(`/dev/fuse cannot be opened: errno ${errno}`, "modprobe fuse");
  }
}

/** The helper that mounts for users; `mode` is that of the file, undefined if there is none. */
export function judgeHelper(
  { path, mode, isRoot }: { path: string | undefined; mode: number | undefined; isRoot: boolean },
): Finding {
  if (path === undefined || mode === undefined) {
    return isRoot
      ? ok("not installed, and root needs none")
      : failed("fusermount3 is not in PATH", "install the package fuse3");
  }
  if (isRoot || (mode & 0o4000) !== 0) return ok(path);
  return warning(`${path} is not set-user-ID`, `as root: chmod u+s ${path}, or reinstall fuse3`);
}

/** Whether other users may be let in; `conf` is the text of /etc/fuse.conf, if there is one. */
export function judgeAllowOther(
  { conf, isWanted, isRoot }: { conf: string | undefined; isWanted: boolean; isRoot: boolean },
): Finding {
  const isAllowed = isRoot || /^[ \t]*user_allow_other[ \t]*$/m.test(conf ?? "");
  const remedy = "put a line user_allow_other into /etc/fuse.conf";
  if (isWanted) {
    return isAllowed
      ? ok("other users are let in")
      : failed("allow_other is configured, and users may not", remedy);
  }
  return isAllowed
    ? ok("only who mounts sees the files; --allow-other would be possible")
    : skipped(`only who mounts sees the files; for --allow-other ${remedy}`);
}
