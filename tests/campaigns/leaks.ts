/** What a campaign must not leave behind: mounts and processes of its own folder. */

import { mounts } from "../support/mounts.ts";

/** Longest that a process which was ended may take to be gone, in ms. */
const END_MS_MAX = 10_000;

/** A process that has to do with a folder. */
export interface Leftover {
  pid: number;
  command: string;
}

/**
 * Every process but this one that has to do with `dir`: its command line names something there, or
 * it works or has a file open there. Only links in `/proc` are read, nothing of what is mounted.
 */
export function processesOf(dir: string): Leftover[] {
  return processes(({ pid, command }) => command.includes(dir) || holdsOpen(pid, dir));
}

/** Every process but this one with these words, joined by NUL, in its command line. */
export function processesNaming(words: string): Leftover[] {
  return processes(({ command }) => command.includes(words));
}

function processes(isMeant: (process: Leftover) => boolean): Leftover[] {
  const found: Leftover[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    const command = readOrNothing(() => Deno.readTextFileSync(`/proc/${name}/cmdline`));
    // A zombie has no command line any more, and waits only for its parent to ask.
    if (command && isMeant({ pid, command })) {
      found.push({ pid, command: command.replaceAll("\0", " ").trim() });
    }
  }
  return found;
}

/** What is still there of a folder's mounts and processes some time after all has been ended. */
export async function leftIn(dir: string): Promise<string[]> {
  const left = (): string[] => [
    ...mountsBelow(dir).map((path) => `left mounted: ${path}`),
    ...processesOf(dir).map(({ pid, command }) => `left: ${pid} ${command}`),
  ];
  // Also somebody else's probe of all mounts of the machine, which ends by itself.
  const end = performance.now() + END_MS_MAX;
  while (left().length > 0 && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return left();
}

/** Mountpoints in `dir`, dead ones too. */
function mountsBelow(dir: string): string[] {
  return mounts().map(({ mountpoint }) => mountpoint).filter((path) => path.startsWith(`${dir}/`));
}

/** Lines of a daemon's log about what must not happen, whatever is done to it. */
export function errorsIn(logFile: string): string[] {
  const text = readOrNothing(() => Deno.readTextFileSync(logFile)) ?? "";
  return text.split("\n").filter((line) => /\[(ERR|FTL)\]|Unhandled error/.test(line));
}

/** Open descriptors of a process; undefined if it is gone. */
export function descriptorsOf(pid: number): string[] | undefined {
  return readOrNothing(() =>
    [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) =>
      readOrNothing(() => Deno.readLinkSync(`/proc/${pid}/fd/${name}`)) ?? ""
    )
  );
}

/** Whether a process is there and more than a zombie. */
export function isAlive(pid: number): boolean {
  const stat = readOrNothing(() => Deno.readTextFileSync(`/proc/${pid}/stat`));
  // The command's name, in parentheses, may hold anything.
  return stat !== undefined && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

/** What `read` gives; undefined for a process that ends while it is looked at. */
export function readOrNothing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const isGone = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.PermissionDenied ||
      error instanceof Error && error.message.includes("(os error 3)");
    if (isGone) return undefined;
    throw error;
  }
}

function holdsOpen(pid: number, dir: string): boolean {
  const cwd = readOrNothing(() => Deno.readLinkSync(`/proc/${pid}/cwd`)) ?? "";
  return `${cwd}/`.startsWith(`${dir}/`) ||
    (descriptorsOf(pid) ?? []).some((path) => path.startsWith(`${dir}/`));
}
