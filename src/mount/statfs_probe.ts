import { agreed, statFilesystem } from "../base/posix.ts";

/** What the probe writes when all is loaded and only `statfs` is left to do. */
export const PROBE_READY = "r";

/** Who mounted what is probed: FUSE lets nobody else through, unless asked to. */
export interface MountOwner {
  uid: number;
  gid: number;
}

/**
 * The child process of `check-mount`: becomes the mount's owner, says that it is ready, calls
 * `statfs(path)` and writes the errno (0 for none) and a newline.
 *
 * It is a process of its own because the call may never return, and a process with a thread in
 * such a call cannot be killed. It stays in the folder it was started in: a working folder inside
 * the mount would hold it busy.
 */
export function runStatfsProbe(
  path: string,
  options: { owner: MountOwner | undefined; write: (text: string) => void },
): void {
  if (options.owner) becomeUser(options.owner);
  options.write(PROBE_READY);
  const status = agreed(() => statFilesystem(path));
  options.write(`${typeof status === "number" ? -status : 0}\n`);
}

/** Takes on the owner's ids, groups first. Keeps root's where that is refused. */
function becomeUser({ uid, gid }: MountOwner): void {
  const library = Deno.dlopen("libc.so.6", {
    setgroups: { parameters: ["usize", "pointer"], result: "i32" },
    setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" },
    setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  });
  library.symbols.setgroups(0n, null);
  library.symbols.setresgid(gid, gid, gid);
  library.symbols.setresuid(uid, uid, uid);
  library.close();
}
