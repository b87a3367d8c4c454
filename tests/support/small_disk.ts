import { mountsAt } from "./mounts.ts";
import { tempDir } from "./temp_dir.ts";

/** A filesystem of its own that can be filled to the last byte. Needs root. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** Takes all the space that is left but for so many bytes; default: to the last byte. */
  fill(leaveBytes?: number): Promise<void>;
  /** Gives back what `fill` took. */
  free(): Promise<void>;
  /** Makes it read-only, or writable again. */
  remount(mode: "ro" | "rw"): Promise<void>;
}

/** Mounts a tmpfs of `bytes`. */
export async function smallDisk(bytes: number): Promise<SmallDisk> {
  const dir = await tempDir("disk");
  await run("mount", "-t", "tmpfs", "-o", `size=${bytes},mode=0755`, "musicfs-test", dir.path);
  const filler = `${dir.path}/filler`;
  return {
    path: dir.path,
    async fill(leaveBytes = 0): Promise<void> {
      using file = await Deno.open(filler, { create: true, append: true });
      for (const size of [65_536, 4096]) await fillBy(file, size);
      const { size } = await file.stat();
      await file.truncate(Math.max(0, size - leaveBytes));
    },
    free: () => Deno.remove(filler),
    remount: (mode) => run("mount", "-o", `remount,${mode}`, dir.path),
    async [Symbol.asyncDispose](): Promise<void> {
      if (mountsAt(dir.path).length > 0) await run("umount", dir.path);
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Writes pieces of `size` bytes until there is no room for another. */
async function fillBy(file: Deno.FsFile, size: number): Promise<void> {
  const zeros = new Uint8Array(size);
  try {
    while (await file.write(zeros) === size);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOSPC") return;
    throw error;
  }
}

async function run(command: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(command, { args }).output();
  if (code === 0) return;
  throw new Error(`${command} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
