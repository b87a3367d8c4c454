/** Reads what lies in tests/golden/ (see its README.md). */

const FOLDER = new URL("../golden/", import.meta.url);

/** The objects of a `.jsonl` file, one a line. */
export function goldenRows<Row>(name: string): Row[] {
  const lines = Deno.readTextFileSync(new URL(name, FOLDER)).trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Row);
}

/** The bytes of an annotated `.hex` file: everything after `#` is a comment. */
export function goldenBytes(name: string): Uint8Array<ArrayBuffer> {
  const text = Deno.readTextFileSync(new URL(name, FOLDER));
  return Uint8Array.fromHex(text.replaceAll(/#.*$/gm, "").replaceAll(/\s/g, ""));
}
