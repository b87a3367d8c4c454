/**
 * Where the keys of a TOML document stand; the parser keeps no positions, and an unknown key is
 * refused with line and column.
 */

/** One key, by its whole path: `["origin", 1, "url"]`, with tables of an array counted from 0. */
export interface KeyPosition {
  path: readonly (string | number)[];
  /** Both from 1. */
  line: number;
  column: number;
}

/** Finds every key of `text`, a document that was parsed without an error, in order. */
export function keyPositions(text: string): KeyPosition[] {
  return new Scanner(text).document();
}

/** The position of `path`, or of what it lies in: of table 1 of an array the second header. */
export function positionOf(
  positions: readonly KeyPosition[],
  path: readonly (string | number)[],
): KeyPosition | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const wanted = JSON.stringify(path.slice(0, length));
    const found = positions.filter((position) => JSON.stringify(position.path) === wanted);
    const index = path[length];
    const last = found.at(-1);
    if (last) return found[typeof index === "number" ? index : 0] ?? last;
  }
  return undefined;
}

class Scanner {
  #at = 0;
  readonly #positions: KeyPosition[] = [];
  /** Tables of each array seen so far, by its path. */
  readonly #arrays = new Map<string, number>();

  constructor(readonly text: string) {}

  document(): KeyPosition[] {
    let table: (string | number)[] = [];
    while (this.#skipBlank()) {
      if (this.text[this.#at] === "[") table = this.#header();
      else this.#pair(table);
    }
    return this.#positions;
  }

  /** `[a.b]` or `[[a.b]]`; gives the path that the pairs below it belong to. */
  #header(): (string | number)[] {
    const isArray = this.text.startsWith("[[", this.#at);
    this.#at += isArray ? 2 : 1;
    const start = this.#afterSpaces();
    const keys = this.#dottedKey("]");
    this.#at += isArray ? 2 : 1;
    const parent = this.#throughArrays(keys.slice(0, -1));
    const path = [...parent, keys.at(-1) ?? ""];
    this.#note(path, start);
    if (!isArray) return this.#throughArrays(keys);
    const name = JSON.stringify(path);
    const index = (this.#arrays.get(name) ?? -1) + 1;
    this.#arrays.set(name, index);
    return [...path, index];
  }

  /** A header's keys name the last table of each array they pass through. */
  #throughArrays(keys: readonly string[]): (string | number)[] {
    const path: (string | number)[] = [];
    for (const key of keys) {
      path.push(key);
      const index = this.#arrays.get(JSON.stringify(path));
      if (index !== undefined) path.push(index);
    }
    return path;
  }

  #pair(table: readonly (string | number)[]): void {
    const start = this.#afterSpaces();
    const path = [...table, ...this.#dottedKey("=")];
    this.#at += 1;
    this.#note(path, start);
    this.#value(path);
  }

  #value(path: readonly (string | number)[]): void {
    this.#skipBlank();
    const character = this.text[this.#at];
    if (character === "[") this.#items(path, "]");
    else if (character === "{") this.#items(path, "}");
    else if (character === '"' || character === "'") this.#string();
    else this.#at = this.#endOf(/[,\]}\n#]/g);
  }

  /** The inside of an array or an inline table. */
  #items(path: readonly (string | number)[], close: "]" | "}"): void {
    this.#at += 1;
    for (let index = 0; this.#skipBlank() && this.text[this.#at] !== close;) {
      if (this.text[this.#at] === ",") {
        this.#at += 1;
        index += 1;
      } else if (close === "]") this.#value([...path, index]);
      else this.#pair(path);
    }
    this.#at += 1;
  }

  #dottedKey(end: "]" | "="): string[] {
    const keys: string[] = [];
    while (this.#afterSpaces() < this.text.length && this.text[this.#at] !== end) {
      const character = this.text[this.#at];
      if (character === ".") this.#at += 1;
      else if (character === '"' || character === "'") keys.push(this.#string());
      else {
        const start = this.#at;
        this.#at = Math.max(this.#endOf(/[\s.=\]]/g), start + 1);
        keys.push(this.text.slice(start, this.#at));
      }
    }
    return keys;
  }

  /** Any of the four kinds of strings; its text, with the escapes that JSON knows taken out. */
  #string(): string {
    const quote = this.text[this.#at] ?? '"';
    const isLong = this.text.startsWith(quote.repeat(3), this.#at);
    const close = isLong ? quote.repeat(3) : quote;
    const start = this.#at + close.length;
    let end = start;
    while (end < this.text.length && !this.text.startsWith(close, end)) {
      end += quote === '"' && this.text[end] === "\\" ? 2 : 1;
    }
    // A long string may end in up to two quotes of its own.
    while (isLong && this.text[end + 3] === quote) end += 1;
    this.#at = end + close.length;
    const inside = this.text.slice(start, end);
    if (quote === "'" || isLong || !inside.includes("\\")) return inside;
    try {
      return String(JSON.parse(`"${inside}"`));
    } catch (error) {
      if (error instanceof SyntaxError) return inside;
      throw error;
    }
  }

  /** Past spaces, newlines and comments; whether anything follows. */
  #skipBlank(): boolean {
    for (;;) {
      while (/\s/.test(this.text[this.#at] ?? "")) this.#at += 1;
      if (this.text[this.#at] !== "#") return this.#at < this.text.length;
      this.#at = this.#endOf(/\n/g);
    }
  }

  #afterSpaces(): number {
    while (this.text[this.#at] === " " || this.text[this.#at] === "\t") this.#at += 1;
    return this.#at;
  }

  /** Where the next match begins, or the text ends. */
  #endOf(stop: RegExp): number {
    stop.lastIndex = this.#at;
    const match = stop.exec(this.text);
    return match ? match.index : this.text.length;
  }

  #note(path: readonly (string | number)[], at: number): void {
    const before = this.text.slice(0, at).split("\n");
    this.#positions.push({
      path: [...path],
      line: before.length,
      column: (before.at(-1)?.length ?? 0) + 1,
    });
  }
}
