import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { TaskStatus } from "./cache_commands.ts";

/** Waits before a failed task is started again, in ms; after the last one it is given up. */
const RESTART_MS = [0, 1_000, 5_000, 30_000, 30_000] as const;

/** A task that has run this long without failing counts as well again, in ms. */
const HEALTHY_MS = 60_000;

/** What a task does until its signal is aborted; it must end soon then. */
export type Task = (signal: AbortSignal) => Promise<void>;

/** Tasks beside the mount. One that fails is started again; it never ends the daemon. */
export class SupervisedTasks implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #tasks = new Map<TaskStatus, Task>();
  readonly #running = new Set<Promise<void>>();
  readonly states: TaskStatus[] = [];

  constructor(readonly clock: Clock, readonly log: Log) {}

  start(name: string, task: Task): void {
    const state: TaskStatus = { name, state: "running", restarts: 0 };
    this.states.push(state);
    this.#tasks.set(state, task);
    this.#begin(state, task);
  }

  /** Starts the tasks again that were given up; their names. */
  startGivenUp(): string[] {
    const started: string[] = [];
    for (const [state, task] of this.#tasks) {
      if (state.state !== "failed" || this.#stop.signal.aborted) continue;
      state.state = "running";
      started.push(state.name);
      this.#begin(state, task);
    }
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new DOMException("musicfs is stopping", "AbortError"));
    await Promise.all(this.#running);
  }

  #begin(state: TaskStatus, task: Task): void {
    const running = this.#run(state, task);
    this.#running.add(running);
    running.finally(() => this.#running.delete(running));
  }

  async #run(state: TaskStatus, task: Task): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; failures <= RESTART_MS.length;) {
      const began = this.clock.monotonic();
      try {
        await task(signal);
        state.state = "done";
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (this.clock.monotonic() - began >= HEALTHY_MS) failures = 0;
        const waitMs = RESTART_MS[failures];
        failures += 1;
        if (waitMs === undefined) {
          this.log.error("A background task is given up", { task: state.name, error });
          break;
        }
        this.log.error("A background task failed and is started again", {
          task: state.name,
          waitMs,
          error,
        });
        state.restarts += 1;
        if (!await this.#waited(waitMs)) return;
      }
    }
    state.state = "failed";
  }

  async #waited(ms: number): Promise<boolean> {
    try {
      await this.clock.sleep(ms, this.#stop.signal);
      return true;
    } catch {
      return false;
    }
  }
}
