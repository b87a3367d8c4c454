import { createPrivateKey } from "node:crypto";
import ssh2, { type AnyAuthMethod, type ParsedKey } from "ssh2";
import { MusicfsError } from "../base/errors.ts";
import { type Environment, expandHome, homeFile, namedFile, optionalFile } from "./sftp_files.ts";
import type { SftpAddress } from "./sftp_url.ts";

/** The keys that ssh tries by itself, in its order, below `~/.ssh`. */
const IDENTITIES = ["id_ed25519", "id_ecdsa", "id_rsa"];

const UNREADABLE = "is not a private key that can be read here";

/** One way to log in. */
export interface LoginStep {
  /** What it is called in SSH. */
  method: "publickey" | "password" | "keyboard-interactive" | "none";
  /** What was tried, for the message if nothing helps; never a secret. */
  shown: string;
  attempt: AnyAuthMethod;
}

/** All there is to log in with. */
export interface Login {
  user: string;
  steps: LoginStep[];
  /** What could not be tried, and why, for the message if nothing helps. */
  skipped: string[];
}

/** Keys that were read before: to decrypt one takes a good part of a second. */
export type ParsedKeys = Map<string, ParsedKey>;

/**
 * Gathers what there is to log in with, anew for each connection: keys before passwords, as ssh.
 *
 * Throws `denied` if what the URL names cannot be used.
 */
export async function loginFor(
  address: SftpAddress,
  { environment, keys }: { environment: Environment; keys: ParsedKeys },
): Promise<Login> {
  const { env } = environment;
  const user = address.user ?? env("USER") ?? env("LOGNAME");
  if (user === undefined || user === "") {
    throw refused(
      environment,
      "the URL names no user, and neither does USER; write sftp://user@host",
    );
  }
  const gathering = new Gathering(user, { address, environment, keys });
  await gathering.identities();
  gathering.agent();
  await gathering.password();
  return gathering.login();
}

class Gathering {
  readonly #user: string;
  readonly #address: SftpAddress;
  readonly #environment: Environment;
  readonly #keys: ParsedKeys;
  readonly #steps: LoginStep[] = [];
  readonly #skipped: string[] = [];

  constructor(
    user: string,
    { address, environment, keys }: {
      address: SftpAddress;
      environment: Environment;
      keys: ParsedKeys;
    },
  ) {
    this.#user = user;
    this.#address = address;
    this.#environment = environment;
    this.#keys = keys;
  }

  login(): Login {
    const none: LoginStep = {
      method: "none",
      shown: "no key and no password, as there are none",
      attempt: { type: "none", username: this.#user },
    };
    const steps = this.#steps.length > 0 ? this.#steps : [none];
    return { user: this.#user, steps, skipped: this.#skipped };
  }

  async identities(): Promise<void> {
    const typed = this.#address.identityFile;
    if (typed !== undefined) {
      const file = expandHome(typed, this.#environment);
      const { name } = this.#environment;
      await this.#identity(file, await namedFile(file, { name, what: "identity file" }), true);
      return;
    }
    const credential = this.#credential("sftp_identity");
    const given = await optionalFile(credential);
    if (credential !== undefined && given !== undefined) {
      await this.#identity(credential, given, true);
      return;
    }
    for (const identity of IDENTITIES) {
      const file = homeFile(`.ssh/${identity}`, this.#environment);
      const text = await optionalFile(file);
      if (file !== undefined && text !== undefined) await this.#identity(file, text, false);
    }
  }

  agent(): void {
    const socket = this.#environment.env("SSH_AUTH_SOCK");
    if (socket === undefined || socket === "") return;
    this.#steps.push({
      method: "publickey",
      shown: "the keys of the agent",
      attempt: { type: "agent", username: this.#user, agent: socket },
    });
  }

  async password(): Promise<void> {
    const password = await this.#secret({
      typed: this.#address.passwordFile,
      what: "password file",
      credential: "sftp_password",
      variable: "MUSICFS_SFTP_PASSWORD",
    });
    if (password === undefined) return;
    let isAnswered = false;
    this.#steps.push({
      method: "password",
      shown: "the password",
      attempt: { type: "password", username: this.#user, password },
    }, {
      method: "keyboard-interactive",
      shown: "the password, when asked",
      attempt: {
        type: "keyboard-interactive",
        username: this.#user,
        prompt: (_name, _instructions, _language, prompts, finish): void => {
          // Who asks again did not like it; a second factor is nothing that we have.
          finish(prompts.map(() => isAnswered ? "" : password));
          isAnswered = true;
        },
      },
    });
  }

  /** A key file. One that the URL names must be readable; the others are tried if they are. */
  async #identity(file: string, text: string, isNamed: boolean): Promise<void> {
    const key = await this.#parse(text);
    if (typeof key !== "string") {
      this.#steps.push({
        method: "publickey",
        shown: `the key "${file}"`,
        attempt: { type: "publickey", username: this.#user, key },
      });
      return;
    }
    this.#skipped.push(`the key "${file}" ${key}`);
    // An encrypted key is often one that the agent holds.
    if (!isNamed || this.#environment.env("SSH_AUTH_SOCK")) return;
    throw refused(this.#environment, `the key "${file}" ${key}`);
  }

  /** The key, or why it is none. */
  async #parse(text: string): Promise<ParsedKey | string> {
    const passphrase = await this.#passphrase();
    const id = `${passphrase ?? ""}\0${text}`;
    const known = this.#keys.get(id);
    if (known) return known;
    const parsed = parseKey(text, passphrase);
    if (typeof parsed !== "string") this.#keys.set(id, parsed);
    return parsed;
  }

  async #passphrase(): Promise<string | undefined> {
    return await this.#secret({
      typed: this.#address.passphraseFile,
      what: "passphrase file",
      credential: "sftp_passphrase",
      variable: "MUSICFS_SFTP_PASSPHRASE",
    });
  }

  /** A secret: from the file that the URL names, else from systemd, else from the environment. */
  async #secret(from: {
    typed: string | undefined;
    what: string;
    credential: string;
    variable: string;
  }): Promise<string | undefined> {
    const { name, env } = this.#environment;
    if (from.typed !== undefined) {
      const file = expandHome(from.typed, this.#environment);
      return withoutNewline(await namedFile(file, { name, what: from.what }));
    }
    const given = await optionalFile(this.#credential(from.credential));
    if (given !== undefined) return withoutNewline(given);
    return env(from.variable) || undefined;
  }

  #credential(file: string): string | undefined {
    const folder = this.#environment.env("CREDENTIALS_DIRECTORY");
    return folder === undefined || folder === "" ? undefined : `${folder}/${file}`;
  }
}

/** Editors end a file with a newline, which is no part of the secret. */
function withoutNewline(text: string): string {
  return text.replace(/\r?\n$/, "");
}

/** The private key in a file, or why there is none. */
function parseKey(text: string, passphrase: string | undefined): ParsedKey | string {
  const wrong = passphrase === undefined
    ? "is encrypted; add ?passphrase_file=FILE, or set MUSICFS_SFTP_PASSPHRASE"
    : "is encrypted with another passphrase than the one that was given";
  const bare = text.includes("BEGIN OPENSSH PRIVATE KEY") ? text : barePem(text, passphrase);
  if (bare === undefined) return isEncrypted(text) ? wrong : UNREADABLE;
  const parsed: unknown = ssh2.utils.parseKey(bare, passphrase);
  const key: unknown = Array.isArray(parsed) ? parsed[0] : parsed;
  if (isKey(key)) return key.isPrivateKey() ? key : "is a public key; name the private one";
  return isEncrypted(text) ? wrong : UNREADABLE;
}

/**
 * A key of the older formats, decrypted, as ssh2 can use it; undefined if that does not go.
 *
 * ssh2 1.17 does not read PKCS #8 and cannot sign with an encrypted PEM key.
 */
function barePem(text: string, passphrase: string | undefined): string | undefined {
  if (!text.includes("PRIVATE KEY")) return text;
  try {
    const key = createPrivateKey(
      passphrase === undefined ? text : { key: text, format: "pem", passphrase },
    );
    const type = key.asymmetricKeyType === "rsa" ? "pkcs1" : "sec1";
    return key.export({ type, format: "pem" }).toString();
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function isKey(key: unknown): key is ParsedKey {
  return typeof key === "object" && key !== null && !(key instanceof Error) &&
    "isPrivateKey" in key;
}

/** Whether a key file is encrypted, in the formats of OpenSSH, PEM and PKCS #8. */
function isEncrypted(text: string): boolean {
  if (/^Proc-Type: *4, *ENCRYPTED/m.test(text) || text.includes("BEGIN ENCRYPTED")) return true;
  const body = /BEGIN OPENSSH PRIVATE KEY-+\s+([A-Za-z0-9+/=\s]+)-+END/.exec(text)?.[1];
  // "openssh-key-v1\0", then the name of the cipher as a string: "none" for a bare key.
  return body !== undefined && !atob(body.replace(/\s+/g, "").slice(0, 32)).startsWith("none", 19);
}

function refused({ name }: Environment, reason: string): MusicfsError {
  return new MusicfsError("denied", `Cannot log in to origin "${name}": ${reason}`, {
    op: "sftp.connect",
    subject: name,
  });
}
