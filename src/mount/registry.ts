/**
 * Which daemon serves which mountpoint.
 *
 * A file for each daemon, in a folder that only its user can write, with a lock on it that the
 * kernel gives back when the daemon dies: a file without a lock means nothing. The lock is of the
 * "open file description" kind (fcntl(2)), which can be looked at without taking it, so that a
 * `musicfs status` never makes a mount that is just starting believe it was the second.
 */

import { createHash } from "node:crypto";
import { MusicfsError } from "../base/errors.ts";
import {
  addressOf,
  checked,
  cString,
  libc,
  O_CREAT,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  openFile,
  preadFully,
  pwriteFully,
  statDescriptor,
  statPath,
} from "../base/posix.ts";

/** What a daemon says of itself. */
export interface DaemonInfo {
  pid: number;
  cache_dir: string;
  /** As the kernel's mount table has it (`canonicalMountpoint`). */
  mountpoint: string;
}

/** The environment and the user, from whom the folders follow. */
export interface RegistryPlace {
  uid: number;
  /** `$XDG_RUNTIME_DIR`, if it is set. */
  runtimeDir: string | undefined;
}

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const FLOCK_BYTES = 32;
const INFO_BYTES_MAX = 16 * 1024;

/** Times a file that was just removed by its owner is made again before giving up. */
const ATTEMPTS_MAX = 10;

/** This process's place. */
export function registryPlace(env: (name: string) => string | undefined): RegistryPlace {
  return { uid: Deno.uid() ?? 0, runtimeDir: env("XDG_RUNTIME_DIR") || undefined };
}

/**
 * Says that this process serves `info.mountpoint`, until it is disposed of or the process ends.
 *
 * Throws `unavailable` with the other's PID if another daemon serves it. Where no folder can be
 * written the daemon does without: it is then found through its cache only.
 */
export function registerDaemon(info: DaemonInfo, place: RegistryPlace): Disposable {
  const other = findDaemon(info.mountpoint, place);
  if (other && other.pid !== info.pid) throw alreadyServed(other);
  const folder = foldersToWrite(place).find(makePrivateFolder);
  if (folder === undefined) return { [Symbol.dispose]: () => {} };
  const path = `${folder}/${fileNameOf(info.mountpoint)}`;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const descriptor = openFile(path, O_RDWR | O_CREAT | O_NOFOLLOW);
    if (descriptor < 0) return { [Symbol.dispose]: () => {} };
    if (!takeLock(descriptor)) {
      const holder = parseInfo(descriptor);
      libc.close(descriptor);
      throw alreadyServed(holder ?? { ...info, pid: 0 });
    }
    if (!isStillAt(descriptor, path)) {
      libc.close(descriptor);
      continue;
    }
    libc.ftruncate(descriptor, 0n);
    pwriteFully(descriptor, new TextEncoder().encode(JSON.stringify(info) + "\n"), 0);
    return { [Symbol.dispose]: releaseOnce(descriptor, path) };
  }
  return { [Symbol.dispose]: () => {} };
}

/** The daemon that serves `mountpoint`, a canonical path; undefined if none is known. */
export function findDaemon(mountpoint: string, place: RegistryPlace): DaemonInfo | undefined {
  for (const folder of foldersToRead(place)) {
    const info = readLive(`${folder}/${fileNameOf(mountpoint)}`, place);
    if (info?.mountpoint === mountpoint) return info;
  }
  return undefined;
}

function alreadyServed(other: DaemonInfo): MusicfsError {
  const who = other.pid === 0 ? "another musicfs daemon" : `musicfs daemon ${other.pid}`;
  return new MusicfsError(
    "unavailable",
    `Cannot mount at ${other.mountpoint}: ${who} serves it; ` +
      `stop it with "musicfs unmount ${other.mountpoint}"`,
    { op: "registry.register", subject: other.mountpoint },
  );
}

function fileNameOf(mountpoint: string): string {
  return `${createHash("sha256").update(mountpoint).digest("hex").slice(0, 32)}.json`;
}

function foldersToWrite({ uid, runtimeDir }: RegistryPlace): string[] {
  const temporary = `/tmp/musicfs-${uid}`;
  if (runtimeDir !== undefined) return [`${runtimeDir}/musicfs`, temporary];
  return uid === 0 ? ["/run/musicfs", temporary] : [temporary];
}

/** Also where the daemon may have written with another environment; root sees everybody's. */
function foldersToRead(place: RegistryPlace): Set<string> {
  const folders = new Set(foldersToWrite(place));
  folders.add("/run/musicfs");
  folders.add(`/run/user/${place.uid}/musicfs`);
  if (place.uid !== 0) return folders;
  for (const name of namesIn("/run/user")) folders.add(`/run/user/${name}/musicfs`);
  for (const name of namesIn("/tmp")) {
    if (/^musicfs-\d+$/.test(name)) folders.add(`/tmp/${name}`);
  }
  return folders;
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    if (error instanceof Deno.errors.PermissionDenied) return [];
    throw error;
  }
}

/** Makes the folder; whether it is a folder of ours that nobody else can write. */
function makePrivateFolder(folder: string): boolean {
  try {
    Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { isDirectory, isSymlink, uid, mode } = Deno.lstatSync(folder);
    const othersWrite = ((mode ?? 0) & 0o022) !== 0;
    return isDirectory && !isSymlink && uid === Deno.uid() && !othersWrite;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

/** What a live daemon wrote; in the folder of another user only what that user may have written. */
function readLive(path: string, place: RegistryPlace): DaemonInfo | undefined {
  const descriptor = openFile(path, O_RDONLY | O_NOFOLLOW);
  if (descriptor < 0) return undefined;
  try {
    if (!isLockedByAnother(descriptor)) return undefined;
    const owner = Deno.lstatSync(path).uid ?? -1;
    if (place.uid !== 0 && owner !== place.uid && owner !== 0) return undefined;
    return parseInfo(descriptor);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  } finally {
    libc.close(descriptor);
  }
}

function parseInfo(descriptor: number): DaemonInfo | undefined {
  const bytes = new Uint8Array(INFO_BYTES_MAX);
  const length = preadFully(descriptor, bytes, 0);
  if (length <= 0) return undefined;
  try {
    const { pid, cache_dir, mountpoint }: Partial<DaemonInfo> = JSON.parse(
      new TextDecoder().decode(bytes.subarray(0, length)),
    );
    if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid < 1) return undefined;
    if (typeof cache_dir !== "string" || typeof mountpoint !== "string") return undefined;
    return { pid, cache_dir, mountpoint };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** `struct flock`, 32 bytes: type, whence, start, length (0: to the end), pid (0: as OFD wants). */
function flockOf(type: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(FLOCK_BYTES);
  new DataView(bytes.buffer).setInt16(0, type, true);
  return bytes;
}

function takeLock(descriptor: number): boolean {
  const lock = flockOf(F_WRLCK);
  const result = checked(libc.fcntl(descriptor, F_OFD_SETLK, addressOf(lock)));
  return result === 0 && lock.length === FLOCK_BYTES; // Named after the call: it lives until then.
}

/** Also true in the process that holds it, through another descriptor. */
function isLockedByAnother(descriptor: number): boolean {
  const lock = flockOf(F_RDLCK);
  if (checked(libc.fcntl(descriptor, F_OFD_GETLK, addressOf(lock))) !== 0) return false;
  return new DataView(lock.buffer).getInt16(0, true) !== F_UNLCK;
}

function isStillAt(descriptor: number, path: string): boolean {
  const open = statDescriptor(descriptor);
  const named = statPath(path);
  return typeof open !== "number" && typeof named !== "number" && open.ino === named.ino;
}

/** Removes the file while it is still locked, so that nobody else's is removed. */
function releaseOnce(descriptor: number, path: string): () => void {
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    libc.unlink(cString(path));
    libc.close(descriptor);
  };
}
