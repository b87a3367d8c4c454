import { connect, type Socket } from "node:net";
import ssh2, { type Algorithms, type Client, type SFTPWrapper } from "ssh2";
import type { Clock } from "../base/clock.ts";
import { orAborted } from "../base/concurrency.ts";
import { type ErrorCode, MusicfsError } from "../base/errors.ts";
import { releaseCiphers } from "./sftp_ciphers.ts";
import type { Environment } from "./sftp_files.ts";
import { keyTypeOf } from "./known_hosts.ts";
import { type HostKeyCheck, hostKeyCheck } from "./sftp_host_key.ts";
import { type Login, loginFor, type LoginStep, type ParsedKeys } from "./sftp_login.ts";
import type { SftpConnection } from "./sftp_session.ts";
import type { SftpAddress } from "./sftp_url.ts";

/** Longest time from the first packet to an open SFTP channel, in ms: some ten round trips. */
const CONNECT_MS_MAX = 15_000;

/**
 * Time between keep-alives of a server that says nothing, in ms, and how many it may leave
 * unanswered. Shorter than what makes a session suspect, so that a slow disk is told from a dead
 * network.
 */
const KEEPALIVE_MS = 3_000;
const KEEPALIVES_MAX = 5;

/**
 * All that Deno's crypto can do of what ssh2 knows, the cheapest first: CTR with a MAC needs a
 * fifth less time than GCM, for which ssh2 makes a new cipher for each packet: 5.4 and 6.9 ms of CPU
 * a MB (measured, 1 MiB pieces from OpenSSH 9.2).
 */
const CIPHERS = [
  "aes128-ctr",
  "aes128-gcm@openssh.com",
  "aes192-ctr",
  "aes256-ctr",
  "aes256-gcm@openssh.com",
] as const;

/** Errors of the system that say that there is no such name, or none to ask for it. */
const NAME_ERRORS = ["ENOTFOUND", "EAI_AGAIN", "EAI_NONAME", "EAI_NODATA", "EAI_FAIL"];

/** What one connection learns for the next. */
export class ConnectMemory {
  readonly keys: ParsedKeys = new Map();
  /** Types of host keys that the server has, and that are not the pinned one. */
  readonly wrongTypes = new Set<string>();
}

/** What a connection needs. */
export interface ConnectOptions {
  address: SftpAddress;
  environment: Environment;
  memory: ConnectMemory;
  clock: Clock;
  /** Ends the attempt. */
  signal: AbortSignal;
  /** Called when there is a connection, on which the server is yet to be heard. */
  onConnected?: () => void;
}

/** What became clear while a connection was made. */
interface Attempt {
  readonly tried: LoginStep[];
  /** What the server would take; undefined until it said so. */
  methods: readonly string[] | undefined;
  /** Whether it showed a host key. */
  shownType: string | undefined;
  refusal: MusicfsError | undefined;
}

/**
 * Connects, checks the server, logs in and opens SFTP.
 *
 * Throws `denied` for a server that is not the one that is meant, that lets nobody in or that
 * speaks no common language; `unavailable` and `timed_out` for one that may do so later.
 */
export async function connectSftp(options: ConnectOptions): Promise<SftpConnection> {
  const { wrongTypes } = options.memory;
  let first: unknown;
  for (;;) {
    const attempt = newAttempt();
    try {
      return await connectOnce(attempt, options);
    } catch (error) {
      const { refusal, shownType } = attempt;
      const isDenied = error instanceof MusicfsError && error.code === "denied";
      if (options.address.fingerprint === undefined || !isDenied) throw error;
      if (refusal && shownType !== undefined) {
        first ??= error;
        wrongTypes.add(shownType);
        continue;
      }
      // Without these types there was no algorithm in common: it has shown all keys that it has.
      const isExhausted = shownType === undefined && wrongTypes.size > 0;
      wrongTypes.clear();
      if (!isExhausted || first !== undefined) throw first ?? error;
    }
  }
}

function newAttempt(): Attempt {
  return { tried: [], methods: undefined, shownType: undefined, refusal: undefined };
}

async function connectOnce(attempt: Attempt, options: ConnectOptions): Promise<SftpConnection> {
  const { address, environment, memory, clock, signal } = options;
  const check = await hostKeyCheck(address, { environment, without: memory.wrongTypes });
  const login = await loginFor(address, { environment, keys: memory.keys });
  const socket = connect({ host: address.host, port: address.port });
  // Else each step of the handshake waits for the other side's delayed acknowledgement.
  socket.setNoDelay(true);
  if (options.onConnected) socket.once("connect", options.onConnected);
  const client = new ssh2.Client();
  const timer = new AbortController();
  try {
    const late = clock.sleep(CONNECT_MS_MAX, timer.signal).then(() => {
      throw problem(options, "timed_out", `no session within ${CONNECT_MS_MAX / 1_000} s`);
    });
    const opening = opened(client, socket, { attempt, login, check, options });
    const sftp = await orAborted(Promise.race([opening, late]), signal);
    return { client, sftp, bytesRead: () => socket.bytesRead };
  } catch (error) {
    client.destroy();
    socket.destroy();
    releaseCiphers(client);
    throw error;
  } finally {
    timer.abort();
  }
}

function opened(
  client: Client,
  socket: Socket,
  { attempt, login, check, options }: {
    attempt: Attempt;
    login: Login;
    check: HostKeyCheck;
    options: ConnectOptions;
  },
): Promise<SFTPWrapper> {
  return new Promise((resolve, reject) => {
    const fail = (error?: unknown): void =>
      reject(connectError(error, { attempt, login, options }));
    client.on("error", (error) => {
      // ssh2 goes on with the next way to log in.
      if (levelOf(error) !== "agent") fail(error);
    });
    client.on("end", () => fail()).on("close", () => fail());
    client.on("ready", () => {
      client.sftp((error, sftp) => {
        if (!error) return resolve(sftp);
        const reason = "it lets us in, but offers no SFTP; enable its sftp subsystem";
        reject(problem(options, "unavailable", reason, error));
      });
    });
    client.connect({
      sock: socket,
      username: login.user,
      readyTimeout: CONNECT_MS_MAX,
      keepaliveInterval: KEEPALIVE_MS,
      keepaliveCountMax: KEEPALIVES_MAX,
      algorithms: algorithmsOf(check),
      hostVerifier: (key: Uint8Array): boolean => {
        attempt.shownType = keyTypeOf(key) ?? "unknown";
        attempt.refusal = check.refuse(key);
        return attempt.refusal === undefined;
      },
      authHandler: (methods, _isPartial, next) => {
        const step = nextStep(login, attempt, methods);
        if (step) next(step.attempt);
        // The types know no end of ways to log in; ssh2 does.
        else Reflect.apply(next, undefined, [false]);
      },
    });
  });
}

function algorithmsOf({ algorithms }: HostKeyCheck): Algorithms {
  return { serverHostKey: algorithms, cipher: [...CIPHERS] };
}

/** The next way to log in that the server would take. */
function nextStep(
  login: Login,
  attempt: Attempt,
  methods: readonly string[] | null,
): LoginStep | undefined {
  attempt.methods = methods ?? attempt.methods;
  for (;;) {
    const step = login.steps[attempt.tried.length];
    if (!step) return undefined;
    attempt.tried.push(step);
    if (!methods || step.method === "none" || methods.includes(step.method)) return step;
  }
}

function connectError(
  error: unknown,
  { attempt, login, options }: { attempt: Attempt; login: Login; options: ConnectOptions },
): MusicfsError {
  if (attempt.refusal) return attempt.refusal;
  const level = levelOf(error);
  if (level === "client-authentication") {
    return problem(options, "denied", loginReason(login, attempt), error);
  }
  if (level === "handshake") {
    const reason = attempt.shownType !== undefined
      ? "the server could not prove that the host key is its own"
      : "the server and musicfs have no algorithm in common, most often the cipher " +
        `(${textOf(error)}). Of ciphers musicfs knows ${CIPHERS.join(", ")}, not ` +
        "chacha20-poly1305: allow one of them in the server's Ciphers";
    return problem(options, "denied", reason, error);
  }
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (typeof code === "string" && NAME_ERRORS.includes(code)) {
    const reason = `the name "${options.address.host}" cannot be resolved; look at DNS`;
    return problem(options, "unavailable", reason, error);
  }
  const reason = error === undefined
    ? "the server ended the connection before it was ready"
    : `no connection: ${textOf(error)}`;
  return problem(options, "unavailable", reason, error);
}

function loginReason({ user, skipped }: Login, { tried, methods }: Attempt): string {
  const accepted = methods === undefined ? "" : ` (it takes ${methods.join(", ")})`;
  const others = skipped.map((reason) => `; ${reason}`).join("");
  return `the server does not let user "${user}" in${accepted}. Tried: ` +
    `${tried.map(({ shown }) => shown).join(", ")}${others}`;
}

function problem(
  { address, environment }: ConnectOptions,
  code: ErrorCode,
  reason: string,
  cause?: unknown,
): MusicfsError {
  const { host, port } = address;
  return new MusicfsError(
    code,
    `Cannot connect to origin "${environment.name}" at ${host} port ${port}: ${reason}`,
    { op: "sftp.connect", subject: environment.name, cause },
  );
}

/** Where in ssh2 an error arose. */
function levelOf(error: unknown): unknown {
  return error instanceof Error && "level" in error ? error.level : undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
