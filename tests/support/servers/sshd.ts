/** A real SFTP server: OpenSSH's sshd, with its own keys and its own configuration. */

import { join } from "node:path";
import { output } from "../process.ts";
import { type TempDir, tempDir } from "../temp_dir.ts";
import { ComposeService, namedServer, type RunningServer, SFTP_URL } from "./compose.ts";
import { accepts, freePort } from "./free_port.ts";
import { ServerProcess } from "./server_process.ts";

const SSHD = "/usr/sbin/sshd";

export interface SshdOptions {
  port?: number;
  /**
   * Also a user who logs in with a password, whom nobody but this server knows: it runs in a mount
   * namespace with its own `/etc/passwd` and `/etc/shadow`. Needs root.
   */
  withPassword?: boolean;
  /** More lines of sshd_config(5), before our own: the first of equal ones wins. */
  config?: readonly string[];
}

/** A user who can log in with a password. */
export interface PasswordUser {
  name: string;
  password: string;
}

/** Starts sshd on a free loopback port and waits until it answers. */
export async function startSshd(options: SshdOptions = {}): Promise<Sshd> {
  const dir = await tempDir("sshd");
  try {
    return await Sshd.start(dir, options);
  } catch (error) {
    await dir[Symbol.asyncDispose]();
    throw error;
  }
}

/** A running sshd; ends with its scope, and with it every session. */
export class Sshd implements AsyncDisposable {
  readonly host = "127.0.0.1";
  /** Who logs in with {@linkcode identityFile}: the user of the tests. */
  readonly user: string;
  readonly port: number;
  /** Path of the client's private key, ed25519 without a passphrase. */
  readonly identityFile: string;
  /** Path of a known_hosts file with this server's key. */
  readonly knownHosts: string;
  /** Set with `withPassword`. */
  readonly passwordUser: PasswordUser | undefined;
  /** The line of {@linkcode knownHosts}. */
  knownHostsLine = "";
  /** `SHA256:…`, as `ssh-keygen -l` prints it. */
  fingerprint = "";
  readonly #dir: TempDir;
  #running: RunningServer | undefined;

  private constructor(dir: TempDir, options: SshdOptions) {
    this.#dir = dir;
    // What must be the test's own is not what somebody else has started.
    const isOwn = options.config !== undefined || options.port !== undefined;
    const named = isOwn ? undefined : namedServer(SFTP_URL);
    this.port = named ? Number(named.port) : options.port ?? freePort();
    if (named) this.#running = new ComposeService("sftp", this.port);
    this.user = named?.username ?? Deno.env.get("USER") ??
      (Deno.uid() === 0 ? "root" : `${Deno.uid()}`);
    this.identityFile = join(dir.path, "id_ed25519");
    this.knownHosts = join(dir.path, "known_hosts");
    this.passwordUser = named
      ? { name: named.username, password: named.password }
      : options.withPassword
      ? { name: "musicfs-test", password: `password-${crypto.randomUUID()}` }
      : undefined;
  }

  static async start(dir: TempDir, options: SshdOptions): Promise<Sshd> {
    const sshd = new Sshd(dir, options);
    await makeKey(sshd.identityFile);
    if (sshd.#running instanceof ComposeService) {
      await sshd.#adopt(sshd.#running);
    } else {
      await sshd.#makeHostKey();
      sshd.#running = await sshd.#spawn(options);
    }
    return sshd;
  }

  /** An origin URL as musicfs takes it; `port` if the way goes through a proxy. */
  url(folder: string, options: { port?: number; user?: string; withKey?: boolean } = {}): string {
    const path = folder.split("/").map(encodeURIComponent).join("/");
    const query = new URLSearchParams({ fingerprint: this.fingerprint });
    if (options.withKey ?? true) query.set("identity_file", this.identityFile);
    const words = query.toString().replaceAll("+", "%20");
    const user = options.user ?? this.user;
    return `sftp://${user}@${this.host}:${options.port ?? this.port}${path}?${words}`;
  }

  /** What sshd wrote, at `LogLevel VERBOSE`. */
  log(): string {
    return this.#server.log();
  }

  get pid(): number {
    return this.#server.pid;
  }

  /** Ends listener and sessions; port and keys stay for `start`. */
  async stop(): Promise<void> {
    await this.#server.stop();
  }

  async kill(): Promise<void> {
    await this.#server.kill();
  }

  async start(): Promise<void> {
    await this.#server.start();
  }

  /** Sessions stay open, nothing answers. */
  freeze(): void {
    this.#server.freeze();
  }

  thaw(): void {
    this.#server.thaw();
  }

  /** Another host key from the next `start` on, as if somebody stood in between. */
  async replaceHostKey(): Promise<void> {
    if (this.#server instanceof ComposeService) throw new Error("sshd runs in a container");
    const path = join(this.#dir.path, "host_key");
    await Deno.remove(path);
    await Deno.remove(`${path}.pub`);
    await makeKey(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
    await this.#dir[Symbol.asyncDispose]();
  }

  get #server(): RunningServer {
    if (!this.#running) throw new Error("sshd was never started");
    return this.#running;
  }

  /** Lets our key in, and learns the host key: the container's, on this machine. */
  async #adopt(service: ComposeService): Promise<void> {
    const key = await Deno.readTextFile(`${this.identityFile}.pub`);
    await service.exec(["sh", "-c", "cat >> /config/.ssh/authorized_keys"], key);
    const words = ["-t", "ed25519", "-p", `${this.port}`, this.host];
    const line = await output("ssh-keyscan", words);
    await this.#know(line.split(" ").slice(1).join(" "));
  }

  async #makeHostKey(): Promise<void> {
    const hostKey = join(this.#dir.path, "host_key");
    await makeKey(hostKey);
    await Deno.copyFile(`${this.identityFile}.pub`, join(this.#dir.path, "authorized_keys"));
    await this.#know(await Deno.readTextFile(`${hostKey}.pub`));
  }

  /** `publicKey`: type and key, as in a `.pub` file. */
  async #know(publicKey: string): Promise<void> {
    const [type, key] = publicKey.trim().split(" ");
    this.knownHostsLine = `[${this.host}]:${this.port} ${type} ${key}`;
    await Deno.writeTextFile(this.knownHosts, `${this.knownHostsLine}\n`);
    const listed = await output("ssh-keygen", ["-l", "-E", "sha256", "-f", this.knownHosts]);
    this.fingerprint = listed.split(" ")[1] ?? "";
  }

  async #spawn(options: SshdOptions): Promise<ServerProcess> {
    const path = (name: string): string => join(this.#dir.path, name);
    await Deno.writeTextFile(path("sshd_config"), this.#config(options.config ?? []));
    if (Deno.uid() === 0) await Deno.mkdir("/run/sshd", { recursive: true, mode: 0o755 });
    const words = [SSHD, "-D", "-e", "-f", path("sshd_config")];
    const [program = SSHD, ...args] = options.withPassword
      ? await this.#withOwnUsers(words)
      : words;
    return await ServerProcess.start({
      name: "sshd",
      program,
      args,
      logFile: path("sshd.log"),
      isReady: () => accepts(this.port),
    });
  }

  #config(first: readonly string[]): string {
    return [
      ...first,
      "ListenAddress 127.0.0.1",
      `Port ${this.port}`,
      `HostKey ${join(this.#dir.path, "host_key")}`,
      `AuthorizedKeysFile ${join(this.#dir.path, "authorized_keys")}`,
      "PidFile none",
      "StrictModes no",
      "UsePAM no",
      "UseDNS no",
      "PubkeyAuthentication yes",
      "KbdInteractiveAuthentication no",
      `PasswordAuthentication ${this.passwordUser ? "yes" : "no"}`,
      "PermitRootLogin prohibit-password",
      "Subsystem sftp internal-sftp",
      "MaxSessions 100",
      "MaxStartups 200",
      "LogLevel VERBOSE",
      "",
    ].join("\n");
  }

  /** The command inside a mount namespace whose users are this machine's and one more. */
  async #withOwnUsers(words: readonly string[]): Promise<string[]> {
    const user = this.passwordUser;
    if (!user) return [...words];
    const path = (name: string): string => join(this.#dir.path, name);
    const hash = await output("openssl", ["passwd", "-6", "-stdin"], { input: user.password });
    const passwd = await Deno.readTextFile("/etc/passwd");
    const shadow = await Deno.readTextFile("/etc/shadow");
    await Deno.writeTextFile(path("passwd"), `${passwd}${user.name}:x:64321:65534::/:/bin/sh\n`);
    await Deno.writeTextFile(
      path("shadow"),
      `${shadow}${user.name}:${hash.trim()}:19000:0:99999:7:::\n`,
      { mode: 0o600 },
    );
    const script = 'mount --bind "$0" /etc/passwd && mount --bind "$1" /etc/shadow && ' +
      'shift && exec "$@"';
    const inside = ["bash", "-c", script, path("passwd"), path("shadow"), ...words];
    return ["/usr/bin/unshare", "--mount", "--propagation", "slave", ...inside];
  }
}

async function makeKey(path: string): Promise<void> {
  await output("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "musicfs-test", "-f", path]);
}
