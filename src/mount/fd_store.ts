import { libc } from "../base/posix.ts";
import type { MountHolder } from "./holder.ts";
import { sdNotify } from "./systemd.ts";

/** The name our descriptor has in systemd's store, and comes back with. */
const FD_NAME = "musicfs";

/** The first descriptor that systemd passes. Source: sd_listen_fds(3). */
const LISTEN_FDS_START = 3;

const F_SETFD = 2;
const FD_CLOEXEC = 1n;

type Env = (name: string) => string | undefined;

/**
 * systemd's store of descriptors (`FileDescriptorStoreMax=`): what lies in it comes back to the
 * service's next process. Whether the unit has one cannot be seen; where it has none, systemd drops
 * the descriptor and the unit's `ExecStopPost=` clears the dead mount away.
 */
export class FdStore implements MountHolder {
  readonly kind = "systemd";
  readonly #socket: string;

  private constructor(socket: string) {
    this.#socket = socket;
  }

  /** undefined if systemd did not start this very process. Source: systemd.exec(5). */
  static open(env: Env, pid: number): FdStore | undefined {
    const socket = env("NOTIFY_SOCKET");
    if (!socket || Number(env("SYSTEMD_EXEC_PID")) !== pid) return undefined;
    return new FdStore(socket);
  }

  hold(descriptor: number): boolean {
    // Watched by nobody (FDPOLL=0): a mount that is gone is for the next daemon to find out.
    const state = `FDSTORE=1\nFDNAME=${FD_NAME}\nFDPOLL=0`;
    return sdNotify(state, { socket: this.#socket, descriptors: [descriptor] });
  }

  release(): void {
    sdNotify(`FDSTOREREMOVE=1\nFDNAME=${FD_NAME}`, { socket: this.#socket });
  }
}

/**
 * The descriptor of a predecessor's mount that systemd passed to this process, close-on-exec again;
 * undefined if there is none. Source: sd_listen_fds(3).
 */
export function listenDescriptor(env: Env, pid: number): number | undefined {
  if (Number(env("LISTEN_PID")) !== pid) return undefined;
  const names = (env("LISTEN_FDNAMES") ?? "").split(":");
  const count = Number(env("LISTEN_FDS") ?? 0);
  let found: number | undefined;
  for (let at = 0; at < count; at += 1) {
    libc.fcntl(LISTEN_FDS_START + at, F_SETFD, FD_CLOEXEC);
    if (names[at] === FD_NAME) found = LISTEN_FDS_START + at;
  }
  return found;
}
