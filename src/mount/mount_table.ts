/** One line of `/proc/self/mountinfo`: a mount that this process sees. Source: proc(5). */
export interface MountEntry {
  id: number;
  parentId: number;
  /** `major:minor` of the device, as `/sys/class/bdi` names it. */
  device: string;
  /** Where it is mounted, with the octal escapes taken out. */
  path: string;
  /** `fuse.musicfs` for ours. */
  type: string;
  source: string;
  /** Who mounted it, from FUSE's own options; undefined for other filesystems. */
  userId: number | undefined;
  groupId: number | undefined;
}

/** The type of our mounts: filesystem `fuse`, subtype `musicfs`. */
export const MUSICFS_TYPE = "fuse.musicfs";

/** Parses all of `/proc/self/mountinfo`; lines it does not understand are left out. */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split("\n")) {
    const entry = parseLine(line);
    if (entry) entries.push(entry);
  }
  return entries;
}

/** The mount that a lookup of `path` ends in: of several at one path the last one made. */
export function topmostAt(entries: readonly MountEntry[], path: string): MountEntry | undefined {
  return entries.findLast((entry) => entry.path === path);
}

/** Paths where the topmost mount is ours, in the order they were mounted. */
export function musicfsPaths(entries: readonly MountEntry[]): string[] {
  const paths = new Set(entries.filter((entry) => entry.type === MUSICFS_TYPE).map((e) => e.path));
  return [...paths].filter((path) => topmostAt(entries, path)?.type === MUSICFS_TYPE);
}

/** What this process sees mounted now. Reading it never waits for a filesystem. */
export function readMountTable(): MountEntry[] {
  return parseMountInfo(Deno.readTextFileSync("/proc/self/mountinfo"));
}

/** The musicfs mount that a lookup of `path` ends in; undefined if there is none, or not ours. */
export function musicfsMountAt(path: string): MountEntry | undefined {
  const entry = topmostAt(readMountTable(), path);
  return entry?.type === MUSICFS_TYPE ? entry : undefined;
}

/** `36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 - fuse.musicfs musicfs ro,user_id=0,group_id=0` */
function parseLine(line: string): MountEntry | undefined {
  const [left = "", right] = splitOnce(line, " - ");
  if (right === undefined) return undefined;
  const [id, parentId, device, , path] = left.split(" ");
  const [type, source, options = ""] = right.split(" ");
  if (device === undefined || path === undefined || type === undefined || source === undefined) {
    return undefined;
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    path: unescape(path),
    type,
    source: unescape(source),
    userId: optionNumber(options, "user_id"),
    groupId: optionNumber(options, "group_id"),
  };
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

/** Space, tab, newline and backslash come as `\040`, `\011`, `\012` and `\134`. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(parseInt(digits, 8)));
}

function optionNumber(options: string, name: string): number | undefined {
  const found = options.split(",").find((option) => option.startsWith(`${name}=`));
  return found === undefined ? undefined : Number(found.slice(name.length + 1));
}
