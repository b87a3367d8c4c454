/**
 * The servers of the network tests, for a human: starts them, prints how to reach them, and ends them
 * on Ctrl-C.
 *
 *   deno run -A tests/support/servers/main.ts [--install] [--keep DIR]
 *
 * `--install` only builds what is missing; `--keep` keeps MinIO's data in a folder.
 */

import { parseArgs } from "node:util";
import { installServers } from "./install.ts";
import { startMinio } from "./minio.ts";
import { startSshd } from "./sshd.ts";
import { startToxiproxy } from "./toxiproxy.ts";

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { install: { type: "boolean", default: false }, keep: { type: "string" } },
  });
  if (!(await installServers(say))) return 1;
  if (values.install) return 0;
  await using minio = await startMinio(values.keep === undefined ? {} : { dir: values.keep });
  if (values.keep === undefined) await minio.makeBucket("music");
  await using sshd = await startSshd({ withPassword: Deno.uid() === 0 });
  await using toxiproxy = await startToxiproxy();
  const ended = Promise.withResolvers<void>();
  Deno.addSignalListener("SIGINT", () => ended.resolve());
  Deno.addSignalListener("SIGTERM", () => ended.resolve());
  say(`MinIO: ${minio.endpoint}, bucket "music"
  export AWS_ACCESS_KEY_ID=${minio.accessKey} AWS_SECRET_ACCESS_KEY=${minio.secretKey}
  deno task start mount MOUNTPOINT --origin '${minio.url("music")}'
SFTP: ${sshd.host}:${sshd.port}, ${sshd.fingerprint}
  ssh -p ${sshd.port} -i ${sshd.identityFile} -o UserKnownHostsFile=${sshd.knownHosts} ${sshd.host}
  deno task start mount MOUNTPOINT --origin '${sshd.url(Deno.cwd())}'
  by password: ${sshd.passwordUser?.name ?? "-"} ${sshd.passwordUser?.password ?? ""}
Toxiproxy: ${toxiproxy.url}
Ctrl-C ends them.
`);
  await ended.promise;
  return 0;
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
