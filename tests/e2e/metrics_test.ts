/** What a daemon tells Prometheus, and what it writes into its log, while files are read. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Daemon, musicfs, startDaemon } from "../support/daemon.ts";
import { type ParsedFamily, parseExposition, valueOf } from "../support/exposition.ts";
import { eventually, output } from "../support/process.ts";
import { testWith } from "../support/requirements.ts";
import { writeNoise } from "../support/sample_library.ts";
import { tempDir } from "../support/temp_dir.ts";

const MS_MAX = 30_000;
const FILE_BYTES = 4 * 2 ** 20;
const READS = FILE_BYTES / 4096;

type Figures = Map<string, ParsedFamily>;

/** What the daemon serves now; a mistake in it fails the test. */
async function figuresAt(path: string): Promise<Figures> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  const response = await fetch("http://localhost/metrics", { client });
  assert.equal(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  return parseExposition(await response.text());
}

/** Reads a file 4 KiB at a time, past the kernel's cache: each is a READ. */
async function readDirectly(daemon: Daemon, name: string): Promise<void> {
  const file = join(daemon.mountpoint, name);
  await output("dd", [`if=${file}`, "of=/dev/null", "bs=4k", "iflag=direct", "status=none"]);
}

testWith(
  ["fuse", "fusermount3"],
  "--metrics counts what is read, from where and how long it took; at info no read is logged",
  async () => {
    await using dir = await tempDir("metrics");
    const origin = `${dir.path}/music`;
    for (const [seed, name] of ["a", "b", "c", "d"].entries()) {
      await writeNoise(`${origin}/${name}.flac`, { bytes: FILE_BYTES, seed: seed + 1 });
    }
    const socket = `${dir.path}/metrics.sock`;
    const args = ["--cache", "on", "--max-size", "12M", "--metrics", `unix:${socket}`];
    await using daemon = await startDaemon({ dir: dir.path, origins: [origin], args });
    await eventually(() => daemon.log.includes("Figures are served"), {
      ms: MS_MAX,
      what: `figures; the daemon wrote ${daemon.log}`,
    });
    const scanned = "musicfs_scan_last_complete_timestamp_seconds";
    await eventually(async () => (await figuresAt(socket)).has(scanned), {
      ms: MS_MAX,
      what: "a first scan",
    });
    await eventually(() => daemon.log.includes("Scanned"), { ms: MS_MAX, what: "the scan's line" });
    const logged = daemon.log;

    const before = await figuresAt(socket);
    const count = (figures: Figures, thread: string): number =>
      valueOf(figures, "musicfs_read_duration_seconds_count", { thread });
    const bytes = (figures: Figures, source: string): number =>
      valueOf(figures, "musicfs_read_bytes_total", { source });
    assert.equal(valueOf(before, "musicfs_library_files"), 4);
    assert.equal(valueOf(before, "musicfs_origin_up", { origin }), 1);
    assert.equal(valueOf(before, "musicfs_origin_state", { origin, state: "offline" }), 0);
    assert.equal(valueOf(before, "musicfs_takeovers_total"), 0);
    assert.equal(valueOf(before, "musicfs_task_restarts_total", { task: "flush" }), 0);
    assert.deepEqual([bytes(before, "cache"), bytes(before, "origin")], [0, 0]);

    await readDirectly(daemon, "a.flac");
    const cold = await figuresAt(socket);
    assert(count(cold, "main") > 0);
    assert(bytes(cold, "origin") > 0);
    const read = valueOf(cold, "musicfs_origin_read_bytes_total", { origin });
    assert(read >= FILE_BYTES, `${read}`);
    const attempts = valueOf(cold, "musicfs_origin_request_duration_seconds_count", { origin });
    assert(
      attempts >= valueOf(cold, "musicfs_origin_requests_total", { origin, operation: "read" }),
    );
    const given = bytes(cold, "cache") + bytes(cold, "origin");
    assert.equal(given, FILE_BYTES);

    await readDirectly(daemon, "a.flac");
    const warm = await figuresAt(socket);
    assert(count(warm, "worker") - count(cold, "worker") >= READS);
    assert.equal(bytes(warm, "cache") + bytes(warm, "origin"), 2 * FILE_BYTES);
    assert(valueOf(warm, "musicfs_read_duration_seconds_sum", { thread: "worker" }) > 0);
    assert.equal(valueOf(warm, "musicfs_evicted_bytes_total", { kind: "chunk" }), 0);

    for (const name of ["b", "c", "d"]) await Deno.readFile(`${daemon.mountpoint}/${name}.flac`);
    const full = await figuresAt(socket);
    assert(valueOf(full, "musicfs_evicted_files_total", { kind: "chunk" }) > 0);
    assert(valueOf(full, "musicfs_evicted_bytes_total", { kind: "chunk" }) > 0);
    const used = valueOf(full, "musicfs_cache_used_bytes");
    assert(used > 0 && used <= valueOf(full, "musicfs_cache_limit_bytes"));
    assert(valueOf(full, "process_open_fds") < valueOf(full, "process_max_fds"));
    assert.equal(daemon.log, logged);
    assert.equal(await daemon.stop(), 0);
  },
);

testWith(
  ["fuse", "fusermount3"],
  "--metrics on a port that is taken keeps no mount from starting",
  async () => {
    await using dir = await tempDir("metrics");
    const origin = `${dir.path}/music`;
    await writeNoise(`${origin}/a.flac`, { bytes: 4096, seed: 1 });
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr as Deno.NetAddr;
    await using daemon = await startDaemon({
      dir: dir.path,
      origins: [origin],
      args: ["--metrics", `127.0.0.1:${port}`],
    });
    await eventually(() => daemon.log.includes("Figures cannot be served for now"), {
      ms: MS_MAX,
      what: `a warning in ${daemon.log}`,
    });
    assert.equal((await Deno.readFile(`${daemon.mountpoint}/a.flac`)).length, 4096);
    const status = await musicfs(["status", "--json", "--cache-dir", daemon.cacheDir]);
    const { faults, takeovers, queues } = JSON.parse(status.stdout);
    assert(faults.warnings >= 1);
    assert.deepEqual([faults.errors, faults.last_error, takeovers], [0, null, 0]);
    assert.deepEqual(Object.keys(queues), ["requests", "fetches", "notifications"]);
    assert.equal(await daemon.stop(), 0);
  },
);
