/** The real unit of musicfs under a real systemd manager (`tests/support/systemd_manager.ts`). */

import { join } from "node:path";
import type { Mount } from "../support/mounts.ts";
import { eventually } from "../support/process.ts";
import { MusicfsUnit, SystemdManager } from "../support/systemd_manager.ts";
import { type Host, servedBy, serving, succeeded } from "./host.ts";

/** Longest wait for a mount to go after its unit was stopped, in ms. */
const GONE_MS_MAX = 10_000;

export interface SystemdHostOptions {
  /** Folder of the manager and of all that its units keep. */
  dir: string;
  origins: readonly string[];
  /** For the unit's environment file. */
  env: Record<string, string>;
}

/** A daemon that systemd starts again, and whose mount lies in systemd's store meanwhile. */
export class SystemdHost implements Host {
  readonly logFile: string;
  readonly #manager: SystemdManager;
  readonly #unit: MusicfsUnit;

  private constructor(manager: SystemdManager, unit: MusicfsUnit) {
    this.#manager = manager;
    this.#unit = unit;
    this.logFile = join(manager.dir, "service.log");
  }

  /** Starts a manager, but not yet the unit. */
  static async make({ dir, origins, env }: SystemdHostOptions): Promise<SystemdHost> {
    await using stack = new AsyncDisposableStack();
    const manager = stack.use(await SystemdManager.start(dir));
    const unit = await MusicfsUnit.make(manager, { origins, env });
    stack.move();
    return new SystemdHost(manager, unit);
  }

  get mountpoint(): string {
    return this.#unit.mountpoint;
  }

  get cacheDir(): string {
    return this.#unit.cacheDir;
  }

  /** The manager has a mount namespace of its own. */
  get prefix(): readonly string[] {
    return this.#manager.inside("", []).slice(0, -1);
  }

  mounts(): Mount[] {
    return this.#manager.mountsAt(this.mountpoint);
  }

  async start(): Promise<void> {
    await this.#unit.start();
    await serving(this, { isSupervised: false });
  }

  async upgrade(): Promise<void> {
    const before = servedBy(this.cacheDir);
    await this.#manager.ctl("restart", this.#unit.name);
    await succeeded(this, before?.pid);
  }

  async stop(): Promise<void> {
    await this.#manager.ctl("stop", this.#unit.name);
    await eventually(() => this.mounts().length === 0, { ms: GONE_MS_MAX, what: "unmounted" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#manager[Symbol.asyncDispose]();
  }
}
