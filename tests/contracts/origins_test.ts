import { LocalOrigin } from "../../src/origins/local.ts";
import { silentLog } from "../../src/base/log.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { tempDir } from "../support/temp_dir.ts";
import { dirname } from "node:path";
import { type Held, type OriginFixture, testOriginContract } from "./origin_contract.ts";

testOriginContract("MemoryOrigin", (held) => {
  const origin = new MemoryOrigin("memory");
  for (const [path, what] of Object.entries(held)) {
    if (what === "folder") origin.putFolder(path);
    else if (what instanceof Uint8Array) origin.put(path, what);
    else origin.putSymlink(path, what.target);
  }
  return Promise.resolve({
    origin,
    replace: (path, bytes) => Promise.resolve(void origin.put(path, bytes)),
    remove: (path) => Promise.resolve(origin.remove(path)),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
});

testOriginContract("LocalOrigin", (held) => local(held, true));
testOriginContract("LocalOrigin without openat2", (held) => local(held, false));

async function local(held: Record<string, Held>, beneath: boolean): Promise<OriginFixture> {
  const dir = await tempDir("origin");
  const root = `${dir.path}/music`;
  await Deno.mkdir(root);
  for (const [path, what] of Object.entries(held)) await write(`${root}/${path}`, what);
  const origin = await LocalOrigin.open("local", root, { log: silentLog, beneath });
  return {
    origin,
    async replace(path, bytes): Promise<void> {
      await Deno.writeFile(`${dir.path}/new`, bytes);
      // Two files written within one tick of the clock, 4 ms, have the same time.
      await Deno.utime(`${dir.path}/new`, 1_700_000_000, 1_700_000_000);
      await Deno.rename(`${dir.path}/new`, `${root}/${path}`);
    },
    remove: (path) => Deno.remove(`${root}/${path}`, { recursive: true }),
    async [Symbol.asyncDispose](): Promise<void> {
      await origin[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

async function write(path: string, what: Held): Promise<void> {
  await Deno.mkdir(what === "folder" ? path : dirname(path), { recursive: true });
  if (what instanceof Uint8Array) await Deno.writeFile(path, what);
  else if (what !== "folder") await Deno.symlink(what.target, path);
}
