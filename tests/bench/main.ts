/**
 * `deno task bench`: musicfs beside the limit in C, rclone and the bare disk, in one run.
 *
 * See docs/performance.md for what the rows mean. Ends what it starts and unmounts what it mounts,
 * also when it fails or is interrupted.
 */

import { parseArgs } from "node:util";
import { musicfsCommand } from "../support/daemon.ts";
import { unmet } from "../support/requirements.ts";
import type { Bench, BenchOptions } from "./bench.ts";
import { tempDirIn, TREE_FILES_STEP } from "./files.ts";
import { addIngestRows } from "./ingest_rows.ts";
import { addNetworkRows } from "./network_rows.ts";
import { createMicroseconds } from "./measure.ts";
import { findRclone, installRclone, RCLONE_VERSION } from "./peers.ts";
import { addReadRows } from "./read_rows.ts";
import { countVerdicts, jsonOf, type Row, tableOf } from "./report.ts";
import { addScanRows } from "./scan_rows.ts";
import { addTreeRows } from "./tree_rows.ts";

/** In the order they run: what writes most comes last. */
const GROUPS = {
  read: addReadRows,
  tree: addTreeRows,
  scan: addScanRows,
  network: addNetworkRows,
  ingest: addIngestRows,
};

type Group = keyof typeof GROUPS;

const HELP = `Usage: deno task bench [OPTIONS]

  --json FILE      write every figure to FILE as well
  --full           know 1,000,000 files (about ten minutes more)
  --known N,N      numbers of files known, multiples of ${TREE_FILES_STEP} (default 10000,100000)
  --file-mib N     size of the file that is read (default 512)
  --rounds N       every figure is the median of N (default 3)
  --seconds N      length of one fio run (default 1)
  --dir DIR        where the files, caches and mounts are made (default $TMPDIR or /tmp)
  --only GROUP     ${Object.keys(GROUPS).join(", ")}; may be repeated
  --install-peers  go install rclone ${RCLONE_VERSION} if it is missing (about three minutes)
  --strict         exit with 1 if a target is missed or was not measured

MUSICFS_BIN names an executable to measure instead of the sources, RCLONE an rclone.
`;

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      "json": { type: "string" },
      "full": { type: "boolean" },
      "known": { type: "string", default: "10000,100000" },
      "file-mib": { type: "string", default: "512" },
      "rounds": { type: "string", default: "3" },
      "seconds": { type: "string", default: "1" },
      "dir": { type: "string", default: Deno.env.get("TMPDIR") ?? "/tmp" },
      "only": { type: "string", multiple: true, default: Object.keys(GROUPS) },
      "install-peers": { type: "boolean" },
      "strict": { type: "boolean" },
      "help": { type: "boolean" },
    },
  });
  if (values.help) {
    write(Deno.stdout, HELP);
    return 0;
  }
  const known = `${values.known}${values.full ? ",1000000" : ""}`.split(",").map(numberOf);
  const options: BenchOptions = {
    fileMebibytes: numberOf(values["file-mib"]),
    rounds: numberOf(values.rounds),
    seconds: numberOf(values.seconds),
    knownFiles: [...new Set(known)].sort((a, b) => a - b),
  };
  const groups = values.only.map(groupOf);
  if (unmet(["gcc", "fuse", "find"]).length > 0) {
    throw new Error("gcc, find or /dev/fuse is missing");
  }

  const rclone = await rcloneOrWarning(values["install-peers"] ?? false);
  const loadBefore = load();
  await using dir = await tempDirIn(values.dir);
  const createUs = await createMicroseconds(dir.path);
  if (createUs > CREATE_US_MAX) write(Deno.stderr, slowToCreate(createUs));
  const rows = await measure({ dir, options, groups, rclone: rclone?.program });
  const about = { ...machine(), loadBefore, createUs, options, rclone: rclone?.version ?? null };
  const counts = countVerdicts(rows);
  write(Deno.stdout, `\n${tableOf(rows)}\n${JSON.stringify(about)}\n${JSON.stringify(counts)}\n`);
  if (createUs > CREATE_US_MAX) write(Deno.stdout, slowToCreate(createUs));
  if (!rclone) write(Deno.stdout, `${RCLONE_MISSING}\n`);
  if (values.json !== undefined) await Deno.writeTextFile(values.json, jsonOf(rows, about));
  return values.strict && counts.ok < rows.flatMap((row) => row.targets).length ? 1 : 0;
}

/** Runs the groups in a fresh folder, which an interrupt removes; the rows. */
async function measure(
  { dir, options, groups, rclone }: {
    dir: AsyncDisposable & { path: string };
    options: BenchOptions;
    groups: readonly Group[];
    rclone: string | undefined;
  },
): Promise<Row[]> {
  const rows: Row[] = [];
  await using stack = new AsyncDisposableStack();
  const bench: Bench = {
    dir: dir.path,
    options,
    rclone,
    stack,
    tell: (line) => write(Deno.stderr, `… ${line}\n`),
    add: (row) => {
      rows.push(row);
      write(Deno.stderr, tableOf([row]).split("\n")[1] + "\n");
    },
  };
  using interrupt = onInterrupt(async () => {
    await stack.disposeAsync();
    await dir[Symbol.asyncDispose]();
  });
  try {
    for (const group of groups) await GROUPS[group](bench);
  } catch (error) {
    // What failed was being read while it was unmounted; the process ends by itself.
    if (interrupt.happened()) await new Promise(() => {});
    throw error;
  }
  return rows;
}

/** Cleans up and ends at SIGINT and SIGTERM, until disposed of. */
function onInterrupt(
  cleanUp: () => Promise<void>,
): Disposable & { happened(): boolean } {
  const signals = ["SIGINT", "SIGTERM"] as const;
  let interrupted = false;
  const interrupt = (): void => {
    if (interrupted) return;
    interrupted = true;
    write(Deno.stderr, "Interrupted: unmounting\n");
    cleanUp().catch((error) => write(Deno.stderr, `${error}\n`)).finally(() => Deno.exit(130));
  };
  for (const signal of signals) Deno.addSignalListener(signal, interrupt);
  return {
    happened: () => interrupted,
    [Symbol.dispose](): void {
      for (const signal of signals) Deno.removeSignalListener(signal, interrupt);
    },
  };
}

/** What a new file may take before figures with writes say nothing of musicfs, in us. */
const CREATE_US_MAX = 300;

function slowToCreate(createUs: number): string {
  return `\n*** A new file takes ${createUs} us here, ten times as long as it should: much was ` +
    "deleted on this filesystem lately.\n*** First reads and ingest will look slow. Wait five " +
    "minutes, or use --dir on another filesystem.\n";
}

const RCLONE_MISSING = `
*** rclone is missing: what musicfs must reach beside it is NOT MEASURED.
*** deno task bench --install-peers   (or: go install github.com/rclone/rclone@${RCLONE_VERSION})
`;

async function rcloneOrWarning(
  install: boolean,
): Promise<{ program: string; version: string } | undefined> {
  let found = await findRclone();
  if (!found && install) {
    await installRclone();
    found = await findRclone();
  }
  if (!found) write(Deno.stderr, RCLONE_MISSING);
  else if (!found.version.startsWith(RCLONE_VERSION)) {
    write(Deno.stderr, `\n*** beside rclone ${found.version}, not ${RCLONE_VERSION}\n`);
  }
  return found;
}

/** What the figures depend on. */
function machine(): Record<string, unknown> {
  return {
    kernel: Deno.osRelease(),
    deno: Deno.version.deno,
    musicfs: musicfsCommand().at(-1),
    root: Deno.uid() === 0,
    cores: navigator.hardwareConcurrency,
    loadAfter: load(),
  };
}

/** Programs that wanted a core in the last minute; the bench's own are among them at the end. */
function load(): number {
  return Number((Deno.loadavg()[0] ?? 0).toFixed(2));
}

function numberOf(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`Not a whole number above 0: ${JSON.stringify(text)}`);
}

function groupOf(text: string): Group {
  if (Object.hasOwn(GROUPS, text)) return text as Group;
  throw new Error(`No group ${JSON.stringify(text)}; there are ${Object.keys(GROUPS).join(", ")}`);
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  stream.writeSync(new TextEncoder().encode(text));
}

if (import.meta.main) Deno.exit(await main(Deno.args));
