import assert from "node:assert/strict";
import { Histogram } from "../../src/base/histogram.ts";
import { exposition, type Family } from "../../src/mount/exposition.ts";
import { parseExposition, valueOf } from "../support/exposition.ts";

Deno.test("exposition() writes what Prometheus reads", () => {
  const odd = 'a"b\\c\nd{}=, é';
  const histogram = new Histogram();
  for (const ms of [0.001, 3, 100_000]) histogram.observe(ms);
  const families: Family[] = [
    { name: "m_a_total", help: "x", type: "counter", samples: [{ value: 3 }] },
    {
      name: "m_b",
      help: "line\nand \\",
      type: "gauge",
      samples: [{ labels: { of: odd, z: "1" }, value: -1.5e-9 }, { value: Infinity }],
    },
    { name: "m_none", help: "x", type: "gauge", samples: [] },
    { name: "m_c_seconds", help: "x", type: "histogram", samples: [{ histogram }] },
    {
      name: "m_d_seconds",
      help: "x",
      type: "histogram",
      samples: [{ labels: { of: odd }, histogram: new Histogram() }],
    },
  ];
  const text = exposition(families);
  const parsed = parseExposition(text);
  assert.deepEqual([...parsed.keys()], ["m_a_total", "m_b", "m_c_seconds", "m_d_seconds"]);
  assert.equal(valueOf(parsed, "m_a_total"), 3);
  assert.equal(valueOf(parsed, "m_b", { of: odd, z: "1" }), -1.5e-9);
  assert.equal(valueOf(parsed, "m_b"), Infinity);
  assert.equal(valueOf(parsed, "m_c_seconds_bucket", { le: "0.000008" }), 1);
  assert.equal(valueOf(parsed, "m_c_seconds_bucket", { le: "33.554432" }), 2);
  assert.equal(valueOf(parsed, "m_c_seconds_bucket", { le: "+Inf" }), 3);
  assert.equal(valueOf(parsed, "m_c_seconds_sum"), 100.003_001);
  assert.equal(valueOf(parsed, "m_d_seconds_count", { of: odd }), 0);
  assert.match(text, /^# HELP m_b line\\nand \\\\\n# TYPE m_b gauge\nm_b\{of="a\\"b\\\\c\\nd/m);
});

Deno.test("parseExposition() refuses what is not the format", () => {
  const head = "# HELP m x\n# TYPE m gauge\n";
  const refused = [
    `${head}m 1`,
    "m 1\n",
    "# TYPE m gauge\nm 1\n",
    `${head}n 1\n`,
    `${head}m 1\nm 1\n`,
    `${head}m{a="1",} 1\n`,
    `${head}m{a="1"b="2"} 1\n`,
    `${head}m{a="\\x"} 1\n`,
    `${head}m  1\n`,
    `${head}m one\n`,
    head,
    "# HELP m x\n# TYPE m counter\nm 1\n",
    `${head}m 1\n${head}m{a="1"} 1\n`,
    '# HELP m x\n# TYPE m histogram\nm_bucket{le="1"} 1\nm_sum 1\nm_count 1\n',
    '# HELP m x\n# TYPE m histogram\nm_bucket{le="+Inf"} 1\nm_sum 1\nm_count 2\n',
  ];
  for (const text of refused) assert.throws(() => parseExposition(text), Error, text);
  assert.equal(valueOf(parseExposition(`${head}m 1\n`), "m"), 1);
});
