import type { Clock } from "../base/clock.ts";
import type { Index } from "../store/index.ts";
import type { EntryEvent, EventListener } from "./entry_event.ts";
import type { FolderChange } from "./folder_change.ts";
import type { Namespace } from "./namespace.ts";
import { nextTurn } from "./next_turn.ts";
import { NamespaceEdit, type Takeover } from "./namespace_edit.ts";

/** Changes in one transaction, about 50 ms of work. */
export const COMMIT_CHANGES_MAX = 2_000;

/** Longest time one transaction goes on taking work, in ms. */
const COMMIT_MS_MAX = 100;

/** Longest time that work which is in no hurry waits for company, in ms. */
const COMMIT_DELAY_MS = 30;

/** What one commit did. */
interface Committed {
  changes: FolderChange[];
  events: EntryEvent[];
  takeovers: Takeover[];
  leftUnproven: boolean;
}

interface Work {
  change: (edit: NamespaceEdit) => void;
  weight: number;
  done: PromiseWithResolvers<void>;
}

/** What the committer needs of the library. */
export interface CommitterParts {
  index: Index;
  namespace: Namespace;
  clock: Clock;
  /** Told after each commit, in the order of the commits. */
  onChange: (changes: FolderChange[]) => void;
  /** Told of each commit, too, if there is anybody. */
  listener: () => EventListener | undefined;
  /** Told of versions that another source took over, before `onChange` is. */
  onTakeover?: ((takeover: Takeover) => void) | undefined;
  /** Told that there are files whose sources are yet to be compared. */
  onUnproven?: () => void;
}

/**
 * Commits changes to names, several in one transaction where none of them is in a hurry: a commit
 * waits for the disk, about 3 ms.
 */
export class Committer {
  readonly #parts: CommitterParts;
  #waiting: Work[] = [];
  #weight = 0;
  #delay: AbortController | undefined;
  #soon: Promise<void> | undefined;

  constructor(parts: CommitterParts) {
    this.#parts = parts;
  }

  /**
   * Commits `change`, in order; `weight` is about the number of records it changes.
   *
   * When the promise resolves the change is on disk. If it throws, nothing of it is, and the
   * promise rejects; work committed beside it is not harmed. It may be called more than once: what
   * an earlier call did to the index was undone.
   */
  commit(
    change: (edit: NamespaceEdit) => void,
    { weight, urgent }: { weight: number; urgent: boolean },
  ): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ change, weight, done });
    this.#weight += weight;
    if (urgent || this.#weight >= COMMIT_CHANGES_MAX) this.flush();
    else this.#delay ??= this.#flushLater();
    return done.promise;
  }

  /**
   * Commits everything that waits when whatever else is ready has had its turn: answers come in
   * bursts, and one commit for all of them takes hardly longer than one for the first.
   */
  flushSoon(): void {
    this.#soon ??= nextTurn().then(() => {
      this.#soon = undefined;
      this.flush();
    });
  }

  /** Commits everything that waits. */
  flush(): void {
    this.#delay?.abort();
    this.#delay = undefined;
    while (this.#waiting.length > 0) this.#commitSome();
  }

  #commitSome(): void {
    const { clock } = this.#parts;
    const waiting = this.#waiting;
    const start = clock.monotonic();
    let taken = 0;
    let done: Committed;
    try {
      done = this.#run((edit) => {
        let weight = 0;
        for (const work of waiting) {
          work.change(edit);
          taken += 1;
          weight += work.weight;
          if (weight >= COMMIT_CHANGES_MAX || clock.monotonic() - start > COMMIT_MS_MAX) return;
        }
      });
    } catch (error) {
      // Which of them failed shows when each is tried by itself.
      const tried = waiting.splice(0, taken + 1);
      this.#weigh();
      if (tried.length === 1) tried[0]?.done.reject(error);
      else for (const work of tried) this.#commitAlone(work);
      return;
    }
    const committed = waiting.splice(0, taken);
    this.#weigh();
    for (const work of committed) work.done.resolve();
    this.#tell(done);
  }

  #commitAlone(work: Work): void {
    let done: Committed;
    try {
      done = this.#run(work.change);
    } catch (error) {
      work.done.reject(error);
      return;
    }
    work.done.resolve();
    this.#tell(done);
  }

  #run(change: (edit: NamespaceEdit) => void): Committed {
    const { index, namespace, clock, listener } = this.#parts;
    const events: EntryEvent[] = [];
    const takeovers: Takeover[] = [];
    const parts = {
      index,
      namespace,
      nowMs: clock.now(),
      takeovers,
      ...(listener() && { events }),
    };
    let leftUnproven = false;
    const changes = NamespaceEdit.run(parts, (edit) => {
      change(edit);
      leftUnproven = edit.leftUnproven;
    });
    return { changes, events, takeovers, leftUnproven };
  }

  #tell({ changes, events, takeovers, leftUnproven }: Committed): void {
    for (const takeover of takeovers) this.#parts.onTakeover?.(takeover);
    if (leftUnproven) this.#parts.onUnproven?.();
    if (events.length > 0) this.#parts.listener()?.(events);
    if (changes.length > 0) this.#parts.onChange(changes);
  }

  #weigh(): void {
    this.#weight = this.#waiting.reduce((sum, work) => sum + work.weight, 0);
  }

  #flushLater(): AbortController {
    const controller = new AbortController();
    this.#parts.clock.sleep(COMMIT_DELAY_MS, controller.signal)
      .then(() => this.flush(), () => {/* Flushed in the meantime. */});
    return controller;
  }
}
