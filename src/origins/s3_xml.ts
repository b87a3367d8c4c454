/** One element: leaves have text, all others children. Attributes and comments are left out. */
export interface XmlElement {
  name: string;
  text: string;
  children: readonly XmlElement[];
}

/** Answers of S3 are three deep. */
const DEPTH_MAX = 16;

/** What stands before, between and in place of elements; 1 is the text of CDATA. */
const ASIDE = /<\?[^>]*\?>|<!--[^]*?-->|<!\[CDATA\[([^]*?)\]\]>/y;

/** An opening tag with attributes or a `/`: 1 is its name, 2 the `/`. */
const TAG = /<([\w:.-]+)(?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(\/?)>/y;

const NAME = /^[\w:.-]+$/;

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

const [BANG, SLASH, QUESTION] = [0x21, 0x2f, 0x3f];

interface OpenElement extends XmlElement {
  children: XmlElement[];
}

/** What leaves share. */
const NONE: XmlElement[] = [];

/**
 * Reads the small part of XML that S3 servers answer with: no DTD, no entities of one's own.
 *
 * Strict, because a listing that is cut short must not pass for a shorter one.
 *
 * @returns the root, or undefined for anything that is not one whole, well-formed element
 */
export function parseXml(text: string): XmlElement | undefined {
  return new Parser(text).parse();
}

/** The text of the first child of that name. */
export function textOf(element: XmlElement, name: string): string | undefined {
  for (const child of element.children) if (child.name === name) return child.text;
  return undefined;
}

/** A page of a listing has 14,000 pieces, so they are found without a regular expression each. */
class Parser {
  readonly #text: string;
  readonly #open: OpenElement[] = [{ name: "", text: "", children: [] }];
  #at: number;

  constructor(text: string) {
    this.#text = text;
    this.#at = text.startsWith("\uFEFF") ? 1 : 0;
  }

  parse(): XmlElement | undefined {
    const text = this.#text;
    while (this.#at < text.length) {
      const start = text.indexOf("<", this.#at);
      if (start !== this.#at && !this.#takeText(start < 0 ? text.length : start)) return undefined;
      if (start < 0) break;
      const sign = text.charCodeAt(start + 1);
      const isSound = sign === SLASH
        ? this.#close()
        : sign === BANG || sign === QUESTION
        ? this.#takeAside()
        : this.#takeOpening();
      if (!isSound) return undefined;
    }
    const [top] = this.#open;
    if (!top || this.#open.length !== 1 || top.text.trim() !== "") return undefined;
    return top.children.length === 1 ? top.children[0] : undefined;
  }

  /** Takes the text up to `end`. */
  #takeText(end: number): boolean {
    const text = withoutEntities(this.#text.slice(this.#at, end));
    this.#at = end;
    return text !== undefined && this.#addText(text);
  }

  #addText(text: string): boolean {
    const parent = this.#open.at(-1);
    if (!parent) return false;
    parent.text = parent.text === "" ? text : parent.text + text;
    return true;
  }

  #takeAside(): boolean {
    ASIDE.lastIndex = this.#at;
    const found = ASIDE.exec(this.#text);
    this.#at = ASIDE.lastIndex;
    return found !== null && (found[1] === undefined || this.#addText(found[1]));
  }

  #close(): boolean {
    const name = this.#open.at(-1)?.name ?? "";
    const end = this.#text.indexOf(">", this.#at);
    if (name === "" || end < 0 || !this.#text.startsWith(name, this.#at + 2)) return false;
    const rest = this.#at + 2 + name.length;
    if (rest !== end && this.#text.slice(rest, end).trim() !== "") return false;
    this.#open.pop();
    this.#at = end + 1;
    return true;
  }

  #takeOpening(): boolean {
    const end = this.#text.indexOf(">", this.#at);
    const name = this.#text.slice(this.#at + 1, end);
    if (end < 0) return false;
    if (NAME.test(name)) {
      this.#at = end + 1;
      return this.#add(name, false);
    }
    TAG.lastIndex = this.#at;
    const found = TAG.exec(this.#text);
    this.#at = TAG.lastIndex;
    return found?.[1] !== undefined && this.#add(found[1], found[2] === "/");
  }

  #add(name: string, isEmpty: boolean): boolean {
    const parent = this.#open.at(-1);
    if (!parent || this.#open.length > DEPTH_MAX) return false;
    const element: OpenElement = { name, text: "", children: NONE };
    if (parent.children === NONE) parent.children = [element];
    else parent.children.push(element);
    if (!isEmpty) this.#open.push(element);
    return true;
  }
}

/** The text with its references resolved; undefined if there is one that XML does not define. */
function withoutEntities(text: string): string | undefined {
  if (!text.includes("&")) return text;
  // These two stand around every ETag.
  const most = text.replaceAll("&#34;", '"').replaceAll("&quot;", '"');
  if (!most.includes("&")) return most;
  let isSound = true;
  const plain = most.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(\w{1,8}));|&/gi, (...found) => {
    const [, hex, decimal, name] = found as (string | undefined)[];
    const code = hex !== undefined ? parseInt(hex, 16) : Number(decimal);
    if (hex !== undefined || decimal !== undefined) {
      if (code <= 0x10ffff) return String.fromCodePoint(code);
    } else if (name !== undefined && Object.hasOwn(ENTITIES, name)) {
      return ENTITIES[name] ?? "";
    }
    isSound = false;
    return "";
  });
  return isSound ? plain : undefined;
}
