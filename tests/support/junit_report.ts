/** What one `deno test` counted. */
export interface Counts {
  passed: number;
  /** The tests and steps that failed: their names, and what was thrown. */
  failed: { name: string; reason: string }[];
  /** Names of the tests that were skipped. */
  skipped: string[];
}

const TEST_CASE = /<testcase name="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;
const FAILURE = /<(?:failure|error)[^>]*?(?:\/>|>([\s\S]*?)<\/(?:failure|error)>)/;

/** Reads a JUnit report as Deno writes it: one `testcase` a test, and one a step. */
export function countReport(xml: string): Counts {
  const counts: Counts = { passed: 0, failed: [], skipped: [] };
  for (const [, name = "", body = ""] of xml.matchAll(TEST_CASE)) {
    if (body.includes("<skipped")) counts.skipped.push(plain(name));
    else if (FAILURE.test(body)) counts.failed.push({ name: plain(name), reason: reasonOf(body) });
    else counts.passed += 1;
  }
  return counts;
}

function reasonOf(body: string): string {
  return plain(FAILURE.exec(body)?.[1] ?? "").trim();
}

/** The text behind the five entities of XML and its numbered ones. */
function plain(text: string): string {
  const named: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
  return text.replace(/&(#x?[0-9a-fA-F]+|[a-z]+);/g, (all, entity: string) => {
    if (!entity.startsWith("#")) return named[entity] ?? all;
    const isHex = entity.startsWith("#x");
    return String.fromCodePoint(parseInt(entity.slice(isHex ? 2 : 1), isHex ? 16 : 10));
  });
}
