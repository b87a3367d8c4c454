import { Buffer } from "node:buffer";
import { MusicfsError } from "../base/errors.ts";
import {
  fingerprintOf,
  type HostKeyVerdict,
  hostToken,
  judgeHostKey,
  keyTypeOf,
  type KnownHost,
  knownKeyTypes,
  parseKnownHosts,
} from "./known_hosts.ts";
import { type Environment, expandHome, homeFile, optionalFile } from "./sftp_files.ts";
import type { SftpAddress } from "./sftp_url.ts";

const SYSTEM_FILE = "/etc/ssh/ssh_known_hosts";

/** Signature algorithms by type of key, the best first; all that ssh2 knows but DSA. */
const ALGORITHMS: Readonly<Record<string, readonly ServerHostKey[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
};

type ServerHostKey =
  | "ssh-ed25519"
  | "ecdsa-sha2-nistp256"
  | "ecdsa-sha2-nistp384"
  | "ecdsa-sha2-nistp521"
  | "rsa-sha2-512"
  | "rsa-sha2-256"
  | "ssh-rsa";

/** Decides whether a server is the one that is meant. */
export interface HostKeyCheck {
  /** What to ask the server for, the types by which it is known first. */
  algorithms: ServerHostKey[];
  /** The error for a key that is not accepted; undefined for one that is. */
  refuse: (key: Uint8Array) => MusicfsError | undefined;
}

/**
 * Reads what is known of a server, anew for each connection.
 *
 * A pinned fingerprint does not tell the type of its key, and a server has several: `without` are
 * the types that it showed and that were not the one.
 */
export async function hostKeyCheck(
  address: SftpAddress,
  { environment, without }: { environment: Environment; without: ReadonlySet<string> },
): Promise<HostKeyCheck> {
  const { host, port, fingerprint } = address;
  if (fingerprint !== undefined) {
    return {
      algorithms: algorithmsFor([], without),
      refuse: (key) => notPinned(key, { address, fingerprint, name: environment.name }),
    };
  }
  const { file, hosts } = await knownHosts(address, environment);
  return {
    algorithms: algorithmsFor(knownKeyTypes(hosts, host, port), without),
    refuse(key): MusicfsError | undefined {
      const verdict = judgeHostKey(hosts, { host, port, key });
      if (verdict.is === "known") return undefined;
      const message = refusal(verdict, { address, key, file });
      return denied(message, environment.name);
    },
  };
}

async function knownHosts(
  { knownHosts: typed }: SftpAddress,
  environment: Environment,
): Promise<{ file: string; hosts: KnownHost[] }> {
  if (typed !== undefined) {
    const file = expandHome(typed, environment);
    // A file that is yet to be written knows nobody; the refusal names it and the line to add.
    return { file, hosts: parseKnownHosts(await optionalFile(file) ?? "") };
  }
  const own = homeFile(".ssh/known_hosts", environment);
  const texts = [await optionalFile(own), await optionalFile(SYSTEM_FILE)];
  return { file: own ?? SYSTEM_FILE, hosts: texts.flatMap((text) => parseKnownHosts(text ?? "")) };
}

/** All algorithms but those of key types `without`, those of the types `first` in front. */
function algorithmsFor(first: readonly string[], without: ReadonlySet<string>): ServerHostKey[] {
  const types = new Set([...first, ...Object.keys(ALGORITHMS)]).difference(without);
  return [...types].flatMap((type) => ALGORITHMS[type] ?? []);
}

function refusal(
  verdict: Exclude<HostKeyVerdict, { is: "known" }>,
  { address, key, file }: { address: SftpAddress; key: Uint8Array; file: string },
): string {
  const { host, port } = address;
  const token = hostToken(host, port);
  const shown = `${keyTypeOf(key) ?? "unknown"} key with the fingerprint ${fingerprintOf(key)}`;
  switch (verdict.is) {
    case "revoked":
      return `THE HOST KEY OF ${token} IS REVOKED: it showed the ${shown}, which "${file}" or ` +
        `"${SYSTEM_FILE}" marks @revoked. Nothing was sent to it. Ask who runs the server`;
    case "changed":
      return `THE HOST KEY OF ${token} HAS CHANGED: it showed the ${shown}, which is not the one ` +
        `in "${file}". Somebody may be listening in, or the server was set up anew. Nothing was ` +
        "sent to it. Ask who runs the server; if the new key is right, remove the old one with: " +
        `ssh-keygen -R '${token}' -f '${file}'`;
    case "unknown": {
      const line = `${token} ${keyTypeOf(key) ?? "unknown"} ${base64(key)}`;
      const others = verdict.otherTypes.length === 0
        ? ""
        : ` (it is known by its ${verdict.otherTypes.join(", ")} key, which it did not show)`;
      const authority = verdict.authority
        ? " A @cert-authority line names it, but musicfs cannot check host certificates."
        : "";
      return `the host key of ${token} is not known${others}: it showed the ${shown}.${authority} ` +
        `If that is the server's, add this line to "${file}":\n${line}`;
    }
  }
}

function notPinned(
  key: Uint8Array,
  { address, fingerprint, name }: { address: SftpAddress; fingerprint: string; name: string },
): MusicfsError | undefined {
  const shown = fingerprintOf(key);
  if (shown === fingerprint) return undefined;
  return denied(
    `THE HOST KEY OF ${hostToken(address.host, address.port)} IS NOT THE ONE IN THE URL: it ` +
      `showed the ${keyTypeOf(key) ?? "unknown"} key with the fingerprint ${shown}, and the URL ` +
      `asks for ${fingerprint}. Nothing was sent to it. Ask who runs the server`,
    name,
  );
}

function denied(reason: string, name: string): MusicfsError {
  return new MusicfsError("denied", `Cannot connect to origin "${name}": ${reason}`, {
    op: "sftp.connect",
    subject: name,
  });
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
