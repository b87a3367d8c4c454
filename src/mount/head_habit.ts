/** Files that the habit is judged by. */
const FILES = 8;

/** Least number of files before anything is concluded. */
const FILES_MIN = 3;

/** What readers do after a file's head: a memory of the latest files. Pure but for what it notes. */
export class HeadHabit {
  /** Whether each of the latest readers went on after the head, the latest last. */
  readonly #wentOn: boolean[] = [];

  /** Notes whether a reader went on where the head ends. */
  note(wentOn: boolean): void {
    this.#wentOn.push(wentOn);
    if (this.#wentOn.length > FILES) this.#wentOn.shift();
  }

  /** Whether too few files were seen to conclude anything. */
  get isUnknown(): boolean {
    return this.#wentOn.length < FILES_MIN;
  }

  /** Whether the next reader is likely to go elsewhere: most of the latest did, and the very last. */
  get goesElsewhere(): boolean {
    const elsewhere = this.#wentOn.filter((wentOn) => !wentOn).length;
    return elsewhere >= FILES_MIN && elsewhere * 2 > this.#wentOn.length &&
      this.#wentOn.at(-1) === false;
  }
}
