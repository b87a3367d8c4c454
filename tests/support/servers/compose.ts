/**
 * The servers of `compose.yaml`, for machines where they are containers: where they are, and how one
 * is stopped, started, frozen.
 *
 * Tests take a server that one of these variables names instead of starting their own; run_tests.ts
 * sets them when the three of compose.yaml answer.
 */

import { eventually, output } from "../process.ts";
import { accepts } from "./free_port.ts";

/** Names of the variables; the URLs hold user and password. */
export const MINIO_URL = "MUSICFS_TEST_MINIO_URL";
export const SFTP_URL = "MUSICFS_TEST_SFTP_URL";
export const TOXIPROXY_URL = "MUSICFS_TEST_TOXIPROXY_URL";

/** As in compose.yaml: ports that no other MinIO, sshd or Toxiproxy is likely to have. */
const COMPOSE_SERVERS = {
  [MINIO_URL]: "http://musicfs-test:musicfs-test-secret@127.0.0.1:19000",
  [SFTP_URL]: "sftp://musicfs:musicfs-test-secret@127.0.0.1:12222",
  [TOXIPROXY_URL]: "http://127.0.0.1:18474",
};

const PROJECT_DIR = new URL("../../..", import.meta.url).pathname;

/** Longest wait for a container to stop or start, in ms. */
const SERVICE_MS_MAX = 60_000;

/** The variables for the servers of compose.yaml, if all of them are up; else none. */
export async function composeServers(): Promise<Record<string, string>> {
  const ports = Object.values(COMPOSE_SERVERS).map((url) => Number(new URL(url).port));
  const up = await Promise.all(ports.map(accepts));
  return up.every((isUp) => isUp) ? { ...COMPOSE_SERVERS } : {};
}

/** The server a variable names, with user and password; undefined if it is not set. */
export function namedServer(variable: string): URL | undefined {
  const value = Deno.env.get(variable);
  if (!value) return undefined;
  const url = URL.parse(value);
  if (!url?.port) throw new Error(`${variable} is no URL with a port`);
  return url;
}

/** What a server of a test can be told, wherever it runs. */
export interface RunningServer extends AsyncDisposable {
  readonly pid: number;
  log(): string;
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

/** A service of compose.yaml. It runs before the test and after it. */
export class ComposeService implements RunningServer {
  readonly #name: string;
  readonly #port: number;

  constructor(name: string, port: number) {
    this.#name = name;
    this.#port = port;
  }

  get pid(): number {
    throw new Error(`${this.#name} runs in a container`);
  }

  log(): string {
    const { stdout } = new Deno.Command("docker", {
      args: ["compose", "logs", "--no-color", this.#name],
      cwd: PROJECT_DIR,
    }).outputSync();
    return new TextDecoder().decode(stdout);
  }

  async start(): Promise<void> {
    await this.#compose("start");
    await eventually(() => accepts(this.#port), { ms: SERVICE_MS_MAX, what: `${this.#name} up` });
  }

  async stop(): Promise<void> {
    await this.#compose("stop");
  }

  async kill(): Promise<void> {
    await this.#compose("kill");
  }

  freeze(): void {
    this.#composeNow("pause");
  }

  thaw(): void {
    this.#composeNow("unpause");
  }

  /** Runs `command` inside, with `input`. */
  async exec(command: readonly string[], input: string): Promise<string> {
    const words = ["compose", "exec", "-T", this.#name, ...command];
    return await output("docker", words, { cwd: PROJECT_DIR, input });
  }

  /** Up again for the next test. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!(await accepts(this.#port))) await this.start();
  }

  async #compose(verb: string): Promise<void> {
    await output("docker", ["compose", verb, this.#name], {
      cwd: PROJECT_DIR,
      limitMs: SERVICE_MS_MAX,
    });
  }

  #composeNow(verb: string): void {
    const args = ["compose", verb, this.#name];
    const { code } = new Deno.Command("docker", { args, cwd: PROJECT_DIR }).outputSync();
    if (code !== 0) throw new Error(`docker ${args.join(" ")} ended with ${code}`);
  }
}
