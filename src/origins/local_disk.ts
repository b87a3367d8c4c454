import { filesystemType } from "./waiting_calls.ts";

/**
 * Filesystems whose bytes come over a network, or from a program that may fetch them over one.
 * Source: linux/magic.h and the file systems' own headers, Linux 6.1.
 */
const REMOTE_TYPES: ReadonlyMap<number, string> = new Map([
  [0x00006969, "NFS"],
  [0x0000517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9p"],
  [0x65735546, "FUSE"],
  [0x00c36400, "Ceph"],
  [0x5346414f, "OpenAFS"],
  [0x6b414653, "AFS"],
  [0x73757245, "Coda"],
  [0x0000564c, "NCP"],
  [0x7461636f, "OCFS2"],
  [0x01161970, "GFS2"],
  [0x0bd00bd0, "Lustre"],
  [0x47504653, "GPFS"],
  [0x00000187, "autofs"],
]);

/** The name of a network's filesystem, by its magic number; undefined for all others. */
export function remoteTypeName(type: number): string | undefined {
  return REMOTE_TYPES.get(type);
}

/**
 * Whether a path lies on a disk of this machine, so that its bytes need no cache.
 *
 * False if that cannot be told: what is cached without need only costs room. Never settles while
 * a network filesystem does not answer; give it a time limit.
 */
export async function isLocalDisk(path: string): Promise<boolean> {
  const type = await filesystemType(path);
  return type !== undefined && !REMOTE_TYPES.has(type);
}
