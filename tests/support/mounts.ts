import { run } from "./process.ts";

/** One line of `/proc/self/mountinfo`. */
export interface Mount {
  /** Unique among the mounts that are there; another one for each mount made. */
  id: number;
  /** `major:minor`; the minor is the connection's name below `/sys/fs/fuse/connections`. */
  device: string;
  mountpoint: string;
  /** As `fuse.musicfs`. */
  type: string;
  source: string;
  options: string[];
}

/** Every mount this process, or another, sees. Source: proc(5), `/proc/pid/mountinfo`. */
export function mounts(pid: number | "self" = "self"): Mount[] {
  const text = Deno.readTextFileSync(`/proc/${pid}/mountinfo`);
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const fields = before.split(" ");
    const [type = "", source = ""] = after.split(" ");
    return {
      id: Number(fields[0]),
      device: fields[2] ?? "",
      mountpoint: unescaped(fields[4] ?? ""),
      type,
      source,
      options: (fields[5] ?? "").split(","),
    };
  });
}

/** The mounts on exactly this path, the topmost last. */
export function mountsAt(path: string, pid: number | "self" = "self"): Mount[] {
  return mounts(pid).filter((mount) => mount.mountpoint === path);
}

/** Detaches whatever is mounted there, however dead; for the end of a test, not for its subject. */
export async function detach(path: string): Promise<void> {
  for (let left = mountsAt(path).length; left > 0; left -= 1) {
    const { code, stderr } = Deno.uid() === 0
      ? await run("umount", ["-l", path])
      : await run("fusermount3", ["-u", "-z", path]);
    if (code !== 0 && mountsAt(path).length > 0) {
      throw new Error(`Left mounted: ${path}: ${stderr}`);
    }
  }
}

function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_all, octal) => String.fromCharCode(parseInt(octal, 8)));
}
