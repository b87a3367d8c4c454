/** A library behind a slow link, over S3 and over SFTP, and who mounts it beside musicfs. */

import { join } from "node:path";
import { type Link, startLink } from "../support/link_proxy.ts";
import { run } from "../support/process.ts";
import { unmet } from "../support/requirements.ts";
import { startMinio } from "../support/servers/minio.ts";
import { startSshd } from "../support/servers/sshd.ts";
import { type Bench, keep } from "./bench.ts";
import { Served } from "./peers.ts";

export type Protocol = "S3" | "SFTP";

/** The link that the figures are of. */
export const LINK = { delayMs: 15, mbit: 100 };

/** There and back, in s. */
export const ROUND_TRIP_S = 2 * LINK.delayMs / 1000;

/** A server behind a link of its own. */
export interface Site extends AsyncDisposable {
  protocol: Protocol;
  link: Link;
  /** As musicfs takes it, through the link. */
  origin: string;
  env: Record<string, string>;
  /** rclone's remote and options, through the link. */
  rclone: readonly string[];
  /** sshfs's source and options; undefined for S3, and where there is no sshfs. */
  sshfs: readonly string[] | undefined;
}

/** Serves `folder` over one protocol; undefined if the server is not installed. */
export async function startSite(
  bench: Bench,
  { protocol, folder }: { protocol: Protocol; folder: string },
): Promise<Site | undefined> {
  const lacking = unmet(protocol === "S3" ? ["minio"] : ["sshd", "ssh-keygen"]);
  if (lacking.length > 0) {
    bench.tell(`${protocol}: ${lacking.join(", ")} is missing, NOT MEASURED`);
    return undefined;
  }
  bench.tell(`a server for ${protocol}`);
  const stack = new AsyncDisposableStack();
  try {
    const site = protocol === "S3"
      ? await startBucket(stack, folder)
      : await startFolder(stack, folder);
    const ending = keepOnce(stack);
    return await keep(bench, { ...site, protocol, [Symbol.asyncDispose]: ending });
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

type Reached = Omit<Site, "protocol" | typeof Symbol.asyncDispose>;

async function startBucket(stack: AsyncDisposableStack, folder: string): Promise<Reached> {
  const minio = stack.use(await startMinio({ buckets: ["music"] }));
  await minio.putFolder("music", folder);
  const link = stack.use(await startLink(minio.port, LINK));
  const remote = `:s3,provider=Minio,env_auth=false,access_key_id=${minio.accessKey},` +
    `secret_access_key=${minio.secretKey},endpoint="${link.endpoint}":music`;
  return {
    link,
    origin: minio.url("music", { endpoint: link.endpoint }),
    env: minio.env,
    rclone: [remote],
    sshfs: undefined,
  };
}

async function startFolder(stack: AsyncDisposableStack, folder: string): Promise<Reached> {
  const sshd = stack.use(await startSshd());
  const link = stack.use(await startLink(sshd.port, LINK));
  const remote = `:sftp,host=${sshd.host},port=${link.port},user=${sshd.user},` +
    `key_file=${sshd.identityFile},shell_type=none,disable_hashcheck=true:${folder}`;
  const hasSshfs = (await run("env", ["sshfs", "--version"])).code === 0;
  const words = `port=${link.port},IdentityFile=${sshd.identityFile},IdentitiesOnly=yes,` +
    "StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,ro";
  return {
    link,
    origin: sshd.url(folder, { port: link.port }),
    env: {},
    rclone: [remote],
    sshfs: !hasSshfs ? undefined : [`${sshd.user}@${sshd.host}:${folder}`, "-o", words],
  };
}

/** rclone on the site, with its cache of whole files; otherwise as it comes. */
export async function mountRclone(bench: Bench, site: Site, name: string): Promise<Served> {
  const mountpoint = join(bench.dir, `rclone-${name}`);
  const [remote = ""] = site.rclone;
  const words = ["--vfs-cache-mode", "full", "--cache-dir", `${mountpoint}-cache`];
  words.push("--config", "/dev/null", "--read-only");
  const command = [bench.rclone ?? "rclone", "mount", remote, mountpoint, ...words] as const;
  return await keep(bench, await Served.start(command, mountpoint));
}

/** sshfs on the site, as it comes. */
export async function mountSshfs(bench: Bench, site: Site, name: string): Promise<Served> {
  const mountpoint = join(bench.dir, `sshfs-${name}`);
  const [source = "", ...words] = site.sshfs ?? [];
  const command = ["sshfs", "-f", source, mountpoint, ...words] as const;
  return await keep(bench, await Served.start(command, mountpoint));
}

function keepOnce(stack: AsyncDisposableStack): () => Promise<void> {
  let ending: Promise<void> | undefined;
  return () => ending ??= stack.disposeAsync();
}
