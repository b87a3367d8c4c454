import type { ByteRange } from "../base/bytes.ts";
import type { Log } from "../base/log.ts";
import type { OpenedOrigin, OpenOptions, OriginAddress } from "./open.ts";
import type { CallOptions, OriginEntry, OriginFile } from "./origin.ts";
import { ConnectMemory, connectSftp } from "./sftp_connect.ts";
import { sftpError } from "./sftp_errors.ts";
import { explained, listFolder, statPath } from "./sftp_listing.ts";
import { SftpPlace } from "./sftp_place.ts";
import { SftpPool } from "./sftp_pool.ts";
import { readRange } from "./sftp_read.ts";
import { SftpSession } from "./sftp_session.ts";
import { parseSftpUrl } from "./sftp_url.ts";

const READ = "sftp.read";

/**
 * A folder of a server that is reached by SSH.
 *
 * Each call makes one attempt on one session of a pool. A call is left at once when its signal says
 * so; what the server still answers to it is dropped.
 */
export class SftpOrigin implements OpenedOrigin {
  readonly #pool: SftpPool;
  readonly #connected: Promise<void>;
  readonly #place: SftpPlace;
  readonly #log: Log;
  /** Whether names that are not UTF-8 were logged since the root was last listed. */
  #told = false;

  /** `connected` resolves when a first connection was made, on which nobody has logged in yet. */
  constructor(
    readonly name: string,
    pool: SftpPool,
    options: { place: SftpPlace; log: Log; connected?: Promise<void> },
  ) {
    this.#pool = pool;
    this.#connected = options.connected ?? Promise.resolve();
    this.#place = options.place;
    this.#log = options.log;
  }

  /** Nothing is connected before the first call. Throws `invalid` for a URL that cannot be used. */
  static open({ name, url }: OriginAddress, { log, clock, env }: OpenOptions): SftpOrigin {
    const address = parseSftpUrl(url);
    const memory = new ConnectMemory();
    const connected = Promise.withResolvers<void>();
    const onConnected = connected.resolve;
    const pool = new SftpPool({
      name,
      clock,
      sessionsMax: address.sessions,
      async connect(signal): Promise<SftpSession> {
        const environment = { name, env };
        const connection = await connectSftp({
          address,
          environment,
          memory,
          clock,
          signal,
          onConnected,
        });
        log.debug("Opened an SFTP session", { origin: name });
        return new SftpSession(connection, { name: `origin "${name}"`, clock });
      },
    });
    return new SftpOrigin(name, pool, {
      place: new SftpPlace(address.root),
      log,
      connected: connected.promise,
    });
  }

  async connect({ signal }: CallOptions): Promise<void> {
    const session = this.#pool.use(() => Promise.resolve(), { signal });
    await Promise.race([this.#connected, session]);
    session.catch((error) => {
      this.#log.debug("Cannot connect ahead of the first call", { origin: this.name, error });
    });
  }

  async *list(folder: string, { signal, onProgress }: CallOptions): AsyncIterable<OriginEntry> {
    const place = this.#place;
    place.full(folder, "sftp.list");
    const { entries, notUtf8 } = await this.#pool.use(
      (session) => listFolder(session, folder, { place, signal, onProgress }),
      { signal },
    );
    if (folder === "") this.#told = false;
    if (notUtf8 > 0 && !this.#told) {
      this.#told = true;
      const fields = { origin: this.name, folder, names: notUtf8 };
      this.#log.warning("Skipped names that are not UTF-8; rename them at the origin", fields);
    }
    yield* entries;
  }

  async stat(path: string, { signal, isToBeRead }: CallOptions): Promise<OriginEntry> {
    const place = this.#place;
    const full = place.full(path, "sftp.stat");
    return await this.#pool.use((session) => {
      if (isToBeRead) session.handles.openAhead(full);
      return statPath(session, path, { place });
    }, { signal });
  }

  async read(
    file: OriginFile,
    range: ByteRange,
    { signal, onProgress }: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { path, size } = file;
    const full = this.#place.full(path, READ);
    const end = range.offset + range.length;
    if (range.offset < 0 || range.length < 0 || end > size) {
      const reason = `bytes ${range.offset} to ${end} are not in its ${size} bytes`;
      throw sftpError("invalid", path, { op: READ, reason });
    }
    return await this.#pool.use(async (session) => {
      try {
        return await readRange(session, { file, range }, {
          place: this.#place,
          signal,
          onProgress,
        });
      } catch (error) {
        if (signal.aborted) throw error;
        throw await explained(session, error, { place: this.#place, path, op: READ });
      }
    }, { signal, path: full });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }
}
