/** What one `deno test` counted. */
export interface Counts {
  passed: number;
  failed: number;
  /** Names of the tests that were skipped. */
  skipped: string[];
}

const TEST_CASE = /<testcase name="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;

/** Reads a JUnit report as Deno writes it: one `testcase` a test, and one a step. */
export function countReport(xml: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: [] };
  for (const [, name = "", body = ""] of xml.matchAll(TEST_CASE)) {
    if (body.includes("<skipped")) counts.skipped.push(plain(name));
    else if (/<(failure|error)/.test(body)) counts.failed += 1;
    else counts.passed += 1;
  }
  return counts;
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
