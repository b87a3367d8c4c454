/** A folder that is removed with everything in it at the end of its scope. */
export interface TempDir extends AsyncDisposable {
  readonly path: string;
}

/**
 * Makes a fresh folder. Under `/tmp` unless `TMPDIR` says otherwise, mode 0755, so that an
 * unprivileged daemon can reach what is mounted in it.
 *
 * Removal does not cross into other filesystems: a mount left in it is an error, not a deletion.
 */
export async function tempDir(name = "test"): Promise<TempDir> {
  const path = await Deno.makeTempDir({ prefix: `musicfs-${name}-` });
  await Deno.chmod(path, 0o755);
  return {
    path,
    async [Symbol.asyncDispose](): Promise<void> {
      await removeTree(path);
    },
  };
}

async function removeTree(path: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("rm", {
    args: ["-rf", "--one-file-system", "--", path],
    stdout: "null",
    stderr: "piped",
  }).output();
  if (code !== 0) throw new Error(`Cannot remove ${path}: ${new TextDecoder().decode(stderr)}`);
}
