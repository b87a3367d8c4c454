/**
 * What tests need beside Deno. A test that lacks something says so loudly; and because a skipped
 * test is easily taken for a passed one, `deno task test` fails on every skip that it did not
 * expect: only what no package can bring (privileges, kernel features) may be missing.
 */

import { MINIO_URL, TOXIPROXY_URL } from "./servers/compose.ts";
import { installed, MINIO, TOXIPROXY } from "./servers/programs.ts";

interface Requirement {
  /** Whether it is there. Cheap, and without side effects. */
  isMet(): boolean;
  /** What is missing and what brings it. */
  remedy: string;
  /** The Debian package that brings it; undefined for what no package can bring. */
  debianPackage?: string;
  /** Whether the tests build it themselves, see `servers/install.ts`. */
  isBuilt?: boolean;
}

/** The folder of Debian's `warzone2100-music`: 84 MB of real Opus files. */
export const REAL_MUSIC_DIR = "/usr/share/games/warzone2100/music";

/** Every need a test can name, with the probe that tells whether it is met. */
export const REQUIREMENTS = {
  fuse: {
    isMet: () => exists("/dev/fuse"),
    remedy: "/dev/fuse is missing: load the fuse module, or pass the device into the container",
  },
  root: {
    isMet: () => Deno.uid() === 0,
    remedy: "this test changes users or mounts: run it as root",
  },
  loop: {
    isMet: () => exists("/dev/loop-control") && Deno.uid() === 0,
    remedy: "this test mounts an ext4 image: it needs root and loop devices",
  },
  passthrough: {
    isMet: () => Deno.uid() === 0 && kernelIsAtLeast(6, 9),
    remedy: "FUSE_PASSTHROUGH needs root and Linux 6.9 or later",
  },
  fusermount3: program("fusermount3", "fuse3"),
  ffmpeg: program("ffmpeg", "ffmpeg"),
  ffprobe: program("ffprobe", "ffmpeg"),
  flac: program("flac", "flac"),
  metaflac: program("metaflac", "flac"),
  lame: program("lame", "lame"),
  mutagen: {
    // For Debian's own Python, /usr/bin/python3.
    isMet: () => exists("/usr/lib/python3/dist-packages/mutagen"),
    remedy: "mutagen is missing: apt-get install python3-mutagen",
    debianPackage: "python3-mutagen",
  },
  rsync: program("rsync", "rsync"),
  gcc: {
    isMet: () => onPath("gcc") && exists("/usr/include/stdio.h"),
    remedy: "gcc or the C library's headers are missing: apt-get install gcc libc6-dev",
    debianPackage: "gcc libc6-dev",
  },
  find: program("find", "findutils"),
  diff: program("diff", "diffutils"),
  pgrep: program("pgrep", "procps"),
  mount: program("mount", "mount"),
  "mkfs.ext4": program("mkfs.ext4", "e2fsprogs"),
  setpriv: program("setpriv", "util-linux"),
  unshare: program("unshare", "util-linux"),
  "systemd-analyze": program("systemd-analyze", "systemd"),
  systemd: {
    isMet: () => exists("/lib/systemd/systemd") && onPath("systemctl"),
    remedy: "systemd is missing: apt-get install systemd",
    debianPackage: "systemd",
  },
  sshd: program("sshd", "openssh-server"),
  "ssh-keygen": program("ssh-keygen", "openssh-client"),
  sftp: program("sftp", "openssh-client"),
  openssl: program("openssl", "openssl"),
  unzip: program("unzip", "unzip"),
  minio: {
    isMet: () => isNamed(MINIO_URL) || installed(MINIO) !== undefined,
    remedy: "MinIO is missing: deno run -A tests/support/servers/main.ts --install",
    isBuilt: true,
  },
  toxiproxy: {
    isMet: () => isNamed(TOXIPROXY_URL) || installed(TOXIPROXY) !== undefined,
    remedy: "Toxiproxy is missing: deno run -A tests/support/servers/main.ts --install",
    isBuilt: true,
  },
  warzone: {
    isMet: () => exists(REAL_MUSIC_DIR),
    remedy: "real music is missing: apt-get install warzone2100-music",
    debianPackage: "warzone2100-music",
  },
} satisfies Record<string, Requirement>;

export type Need = keyof typeof REQUIREMENTS;

/** A skipped test, as `deno task test` reads it from the file that `MUSICFS_SKIPS_FILE` names. */
export interface Skip {
  name: string;
  need: Need;
  /** Whether a run without it can be called whole. */
  expected: boolean;
}

/** The needs that are not met on this machine. */
export function unmet(needs: readonly Need[]): Need[] {
  return needs.filter((need) => !REQUIREMENTS[need].isMet());
}

/** Packages that bring what a package can bring and what this machine lacks. */
export function missingPackages(): string[] {
  const packages = Object.values<Requirement>(REQUIREMENTS)
    .filter((requirement) => !requirement.isMet())
    .flatMap((requirement) => requirement.debianPackage?.split(" ") ?? []);
  return [...new Set(packages)].sort();
}

/** A test's name, and what of Deno's checks it must do without. */
export type TestTitle =
  | string
  | Pick<Deno.TestDefinition, "name" | "sanitizeOps" | "sanitizeResources">;

/** A test with needs; where one is missing it is skipped, loudly. */
export function testWith(
  needs: readonly Need[],
  title: TestTitle,
  fn: (context: Deno.TestContext) => Promise<void>,
): void {
  const definition = typeof title === "string" ? { name: title } : title;
  const missing = unmet(needs);
  for (const need of missing) report(definition.name, need);
  Deno.test({ ...definition, fn, ignore: missing.length > 0 });
}

/** Whether a run in which `need` is missing can still be called whole. */
export function isExpectedSkip(need: Need): boolean {
  const requirement: Requirement = REQUIREMENTS[need];
  if (requirement.isBuilt) return false;
  return requirement.debianPackage === undefined && need !== "fuse";
}

function report(name: string, need: Need): void {
  write(Deno.stderr, `SKIPPED: ${name}\n  ${REQUIREMENTS[need].remedy}\n`);
  const file = Deno.env.get("MUSICFS_SKIPS_FILE");
  if (file === undefined) return;
  const skip: Skip = { name, need, expected: isExpectedSkip(need) };
  Deno.writeTextFileSync(file, JSON.stringify(skip) + "\n", { append: true });
}

function program(name: string, debianPackage: string): Requirement {
  return {
    isMet: () => onPath(name),
    remedy: `${name} is missing: apt-get install ${debianPackage}`,
    debianPackage,
  };
}

/** Also looks into the system folders, which are not on everybody's path. */
function onPath(name: string): boolean {
  const folders = `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin`.split(":");
  return folders.some((folder) => folder !== "" && exists(`${folder}/${name}`));
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Whether a variable names a server that runs somewhere else. */
function isNamed(variable: string): boolean {
  return Boolean(Deno.env.get(variable));
}

function kernelIsAtLeast(major: number, minor: number): boolean {
  const [a = 0, b = 0] = Deno.osRelease().split(".").map(Number);
  return a > major || (a === major && b >= minor);
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  stream.writeSync(new TextEncoder().encode(text));
}
