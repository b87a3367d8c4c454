import * as v from "valibot";
import { type Clock, systemClock } from "../base/clock.ts";
import { descriptorsFor } from "../base/descriptor_limit.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { DaemonCommands } from "./cache_commands.ts";
import {
  CONTROL_VERSION,
  type ControlResponse,
  encodeLine,
  linesOf,
  withSocketName,
  writeAll,
} from "./control_protocol.ts";

/** What a command may do while it runs. */
export interface ControlCall {
  /** Tells the client how far it is; lost if the client is gone. */
  progress(value: unknown): void;
  /** Resolves when the client has been sent all that it was told, or is gone. */
  sent(): Promise<void>;
  /** Aborted when the client goes away. Only what nobody else gains from may end with it. */
  gone: AbortSignal;
}

/** Runs one command; what it returns goes to the client as JSON. */
export type ControlHandler = (args: unknown, call: ControlCall) => Promise<unknown>;

/** Connections at once; a client has one, so that is 64 commands waiting. */
const CONNECTIONS_MAX = 64;

/** After a connection that could not be taken, in ms: as when there is no descriptor for it. */
const ACCEPT_AGAIN_MS = 100;

/** Progress that a client has not read before more of it is dropped for this client. */
const UNSENT_BYTES_MAX = 64 * 1024 * 1024;

/** A control socket that is being served. */
export interface ControlServer extends AsyncDisposable {
  /** Commands under way, also those whose client has gone. */
  readonly running: number;
}

const RequestSchema = v.object({
  version: v.number(),
  id: v.number(),
  command: v.string(),
  args: v.unknown(),
});

const GcSchema = v.strictObject({
  maxSizeBytes: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  dryRun: v.boolean(),
});

const ScanSchema = v.strictObject({
  origins: v.optional(v.array(v.string())),
  checksum: v.boolean(),
  acceptDeletions: v.boolean(),
});

const VerifySchema = v.strictObject({ repair: v.boolean() });

const PathsSchema = v.strictObject({
  paths: v.pipe(
    v.array(v.strictObject({ typed: v.string(), candidates: v.array(v.string()) })),
    v.minLength(1),
  ),
});

/** The commands of every daemon, with their arguments checked. */
export function controlHandlers(commands: DaemonCommands): Map<string, ControlHandler> {
  return new Map<string, ControlHandler>([
    ["gc", async (args) => await commands.gc(checkArgs(GcSchema, args))],
    [
      "scan",
      async (args, { progress }) =>
        await commands.scan({ ...checkArgs(ScanSchema, args), onProgress: progress }),
    ],
    [
      "verify",
      async (args, { progress }) =>
        await commands.verify({ ...checkArgs(VerifySchema, args), onProgress: progress }),
    ],
    // Whoever asked for these waits for them: they end with the client.
    [
      "warm",
      async (args, { progress, gone }) =>
        await commands.warm({
          ...checkArgs(PathsSchema, args),
          onProgress: progress,
          signal: gone,
        }),
    ],
    [
      "pin",
      async (args, { progress, gone }) =>
        await commands.pin({
          ...checkArgs(PathsSchema, args),
          onProgress: progress,
          signal: gone,
        }),
    ],
    ["unpin", async (args) => await commands.unpin(checkArgs(PathsSchema, args))],
    ["pins", async () => await commands.pins()],
    ["status", async () => await commands.status()],
    ["unmount", async () => {
      await commands.unmount();
      return {};
    }],
  ]);
}

/**
 * Serves `commands`, and `streams` beside them, on a socket at `path` that only its user can open,
 * until it is disposed of.
 *
 * The caller holds the cache's lock: what lies at `path` was left by a dead daemon and is replaced.
 * Disposing closes all connections; it does not wait for commands under way.
 * Throws `unavailable` if the socket cannot be made.
 */
export async function serveControl(options: {
  path: string;
  commands: DaemonCommands;
  streams?: Readonly<Record<string, ControlHandler>>;
  clock?: Clock;
  log: Log;
}): Promise<ControlServer> {
  const { path, clock = systemClock, log } = options;
  const handlers = controlHandlers(options.commands);
  for (const [name, handler] of Object.entries(options.streams ?? {})) handlers.set(name, handler);
  const listener = await listenPrivately(path);
  const clients = new Map<Client, Promise<void>>();
  let running = 0;
  const count = (change: 1 | -1): void => {
    running += change;
  };
  const clientsMax = Math.min(CONNECTIONS_MAX, descriptorsFor("control"));
  const closing = new AbortController();
  const accepting = (async () => {
    for await (
      const connection of connectionsOf(listener, { clock, log, signal: closing.signal })
    ) {
      if (clients.size >= clientsMax) {
        connection.close();
        continue;
      }
      const client = new Client(connection, { handlers, log, count });
      clients.set(client, client.serve().finally(() => clients.delete(client)));
    }
  })();
  return {
    get running() {
      return running;
    },
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      closeQuietly(listener);
      await removeIfThere(path);
      for (const client of clients.keys()) client.close();
      await Promise.all([accepting, ...clients.values()]);
    },
  };
}

/** All that connect until `signal`, also after the process was out of descriptors for a while. */
async function* connectionsOf(
  listener: Deno.Listener,
  { clock, log, signal }: { clock: Clock; log: Log; signal: AbortSignal },
): AsyncIterable<Deno.Conn> {
  let isTold = false;
  while (!signal.aborted) {
    try {
      yield await listener.accept();
      isTold = false;
    } catch (error) {
      if (signal.aborted) return;
      if (!isTold) log.warning("Nobody can connect to the control socket for now", { error });
      isTold = true;
      await clock.sleep(ACCEPT_AGAIN_MS, signal).catch(() => undefined);
    }
  }
}

/** One connection. */
class Client {
  readonly #gone = new AbortController();
  readonly #connection: Deno.Conn;
  readonly #handlers: ReadonlyMap<string, ControlHandler>;
  readonly #log: Log;
  readonly #count: (change: 1 | -1) => void;
  #sending: Promise<void> = Promise.resolve();
  #unsentBytes = 0;

  constructor(
    connection: Deno.Conn,
    options: {
      handlers: ReadonlyMap<string, ControlHandler>;
      log: Log;
      /** Told of each command that begins and ends. */
      count: (change: 1 | -1) => void;
    },
  ) {
    this.#connection = connection;
    this.#handlers = options.handlers;
    this.#log = options.log;
    this.#count = options.count;
  }

  /** Reads requests until the client goes away; commands it began run on. */
  async serve(): Promise<void> {
    try {
      for await (const line of linesOf(this.#connection.readable)) this.#take(line);
    } catch (error) {
      this.#log.debug("A control connection broke", { error });
    } finally {
      this.close();
    }
  }

  close(): void {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort();
    closeQuietly(this.#connection);
  }

  #take(line: string): void {
    const parsed = v.safeParse(RequestSchema, parseJson(line));
    if (!parsed.success) {
      this.#send({ id: -1, error: { code: "invalid", message: "Cannot read the request" } });
      return;
    }
    const { version, id, command, args } = parsed.output;
    const handler = this.#handlers.get(command);
    if (version !== CONTROL_VERSION || handler === undefined) {
      const message = version === CONTROL_VERSION
        ? `The daemon does not know "${command}"; it is of another version`
        : `The daemon speaks version ${CONTROL_VERSION} of the control protocol, not ${version}`;
      this.#send({ id, error: { code: "invalid", message } });
      return;
    }
    this.#run(id, () =>
      handler(args, {
        progress: (value) => this.#send({ id, progress: value }),
        sent: () => this.#sending,
        gone: this.#gone.signal,
      }));
  }

  /** Not awaited by anybody: it handles its own errors, and outlives the connection. */
  async #run(id: number, call: () => Promise<unknown>): Promise<void> {
    this.#count(1);
    try {
      this.#send({ id, result: await call() });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (error instanceof MusicfsError) {
        this.#send({ id, error: { code: error.code, message } });
      } else if (error instanceof DOMException && error.name === "AbortError") {
        // The client has gone, or the daemon is going.
        this.#send({ id, error: { code: "unavailable", message } });
      } else {
        this.#log.error("A command failed", { error });
        this.#send({ id, error: { code: "bug", message } });
      }
    } finally {
      this.#count(-1);
    }
  }

  #send(response: ControlResponse): void {
    if (this.#gone.signal.aborted) return;
    if ("progress" in response && this.#unsentBytes > UNSENT_BYTES_MAX) return;
    const line = encodeLine(response);
    this.#unsentBytes += line.length;
    this.#sending = this.#sending
      .then(() => writeAll(this.#connection, line))
      .catch(() => this.close())
      .finally(() => this.#unsentBytes -= line.length);
  }
}

/** Nobody else can open the socket from its first moment on. */
async function listenPrivately(path: string): Promise<Deno.Listener> {
  await removeIfThere(path);
  try {
    return await withSocketName(path, (name) => {
      const before = Deno.umask(0o177);
      try {
        return Deno.listen({ transport: "unix", path: name });
      } finally {
        Deno.umask(before);
      }
    });
  } catch (cause) {
    throw new MusicfsError("unavailable", `Cannot make the control socket ${path}`, {
      op: "control.listen",
      subject: path,
      cause,
    });
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function closeQuietly(resource: { close(): void }): void {
  try {
    resource.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function checkArgs<T extends v.GenericSchema>(schema: T, args: unknown): v.InferOutput<T> {
  const parsed = v.safeParse(schema, args);
  if (parsed.success) return parsed.output;
  throw new MusicfsError("invalid", `Cannot use the arguments: ${parsed.issues[0].message}`, {
    op: "control.args",
    subject: "control.sock",
  });
}
