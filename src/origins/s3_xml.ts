/** One element: leaves have text, all others children. Attributes and comments are left out. */
export interface XmlElement {
  name: string;
  text: string;
  children: XmlElement[];
}

/** Answers of S3 are three deep. */
const DEPTH_MAX = 16;

/** One piece of a document: 1 is CDATA, 2 a closing tag, 3 an opening one, 4 its `/`, 5 text. */
const PIECE =
  /<\?[^>]*\?>|<!--[^]*?-->|<!\[CDATA\[([^]*?)\]\]>|<\/([\w:.-]+)\s*>|<([\w:.-]+)(?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(\/?)>|([^<]+)/y;

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

/**
 * Reads the small part of XML that S3 servers answer with: no DTD, no entities of one's own.
 *
 * Strict, because a listing that is cut short must not pass for a shorter one.
 *
 * @returns the root, or undefined for anything that is not one whole, well-formed element
 */
export function parseXml(text: string): XmlElement | undefined {
  const top: XmlElement = { name: "", text: "", children: [] };
  const open: XmlElement[] = [top];
  PIECE.lastIndex = text.startsWith("\uFEFF") ? 1 : 0;
  while (PIECE.lastIndex < text.length) {
    const piece = PIECE.exec(text);
    const parent = open.at(-1);
    if (!piece || !parent) return undefined;
    const [, literal, closed, opened, empty, raw] = piece;
    if (opened !== undefined) {
      if (open.length > DEPTH_MAX) return undefined;
      const element = { name: opened, text: "", children: [] };
      parent.children.push(element);
      if (empty === "") open.push(element);
    } else if (closed !== undefined) {
      if (parent.name !== closed || open.length === 1) return undefined;
      open.pop();
    } else if (literal !== undefined) {
      parent.text += literal;
    } else if (raw !== undefined) {
      const plain = raw.includes("&") ? withoutEntities(raw) : raw;
      if (plain === undefined) return undefined;
      parent.text += plain;
    }
  }
  if (open.length !== 1 || top.children.length !== 1 || top.text.trim() !== "") return undefined;
  return top.children[0];
}

/** The text of the first child of that name. */
export function textOf(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text;
}

function withoutEntities(text: string): string | undefined {
  let sound = true;
  const plain = text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(\w{1,8}));|&/gi, (...found) => {
    const [, hex, decimal, name] = found as (string | undefined)[];
    const code = hex !== undefined ? parseInt(hex, 16) : Number(decimal);
    if (hex !== undefined || decimal !== undefined) {
      if (code <= 0x10ffff) return String.fromCodePoint(code);
    } else if (name !== undefined && Object.hasOwn(ENTITIES, name)) {
      return ENTITIES[name] ?? "";
    }
    sound = false;
    return "";
  });
  return sound ? plain : undefined;
}
