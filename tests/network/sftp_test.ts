import { dirname } from "node:path";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/clock.ts";
import { SftpOrigin } from "../../src/origins/sftp.ts";
import { type Held, testOriginContract } from "../contracts/origin_contract.ts";
import { startSshd } from "../support/servers/sshd.ts";
import { tempDir } from "../support/temp_dir.ts";

testOriginContract("SftpOrigin", async (held) => {
  const sshd = await startSshd();
  const dir = await tempDir("sftp");
  const root = `${dir.path}/music`;
  await Deno.mkdir(root);
  for (const [path, what] of Object.entries(held)) await write(`${root}/${path}`, what);
  const origin = SftpOrigin.open({ name: "nas", url: sshd.url(root) }, {
    log: silentLog,
    clock: systemClock,
    env: () => undefined,
  });
  return {
    origin,
    async replace(path, bytes): Promise<void> {
      await Deno.writeFile(`${dir.path}/new`, bytes);
      // SFTP tells whole seconds.
      await Deno.utime(`${dir.path}/new`, 1_700_000_000, 1_700_000_000);
      await Deno.rename(`${dir.path}/new`, `${root}/${path}`);
    },
    remove: (path) => Deno.remove(`${root}/${path}`, { recursive: true }),
    async [Symbol.asyncDispose](): Promise<void> {
      await origin[Symbol.asyncDispose]();
      await sshd[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
});

async function write(path: string, what: Held): Promise<void> {
  await Deno.mkdir(what === "folder" ? path : dirname(path), { recursive: true });
  if (what instanceof Uint8Array) await Deno.writeFile(path, what);
  else if (what !== "folder") await Deno.symlink(what.target, path);
}
