/**
 * Rows about music behind a link of 15 ms each way and 100 Mbit: tag scans, listings, the first byte.
 *
 * Bytes are counted by the link, so what a protocol adds is in them. Kernel caches are dropped before
 * each scan, the servers' among them, which costs them little: all is on this machine.
 */

import { join } from "node:path";
import { musicfs } from "../support/daemon.ts";
import { tagScan } from "../support/listening.ts";
import { output } from "../support/process.ts";
import { type Bench, Musicfs, startMusicfs } from "./bench.ts";
import { residentMemory } from "./measure.ts";
import {
  LINK,
  mountRclone,
  mountSshfs,
  type Protocol,
  ROUND_TRIP_S,
  type Site,
  startSite,
} from "./network_servers.ts";
import type { Served } from "./peers.ts";
import { median, type Row, type Subject } from "./report.ts";

const PROTOCOLS: readonly Protocol[] = ["S3", "SFTP"];

const SCAN_FILES = 200;
const SCAN_FILE_MIB = 20;

/** Half of them are read from in two places, the others from first to last. */
const COLD_FILES = 6;
const COLD_FILE_MIB = 30;

const FIND_FOLDERS = 500;
const FIND_FILES = 10_000;

/** Longest scan, in ms: over SFTP rclone brings all of every file, which takes it six minutes. */
const SCAN_MS_MAX = 150_000;

/** After a scan, for what is still on its way, in ms: read-ahead is paid for, too. */
const SETTLE_MS = 1_000;

type Figures = Row["figures"];

/** Tag scan, cold reads and listings, over S3 and over SFTP, beside rclone and sshfs. */
export async function addNetworkRows(bench: Bench): Promise<void> {
  const library = join(bench.dir, "network-library");
  bench.tell(`making ${SCAN_FILES} files of ${SCAN_FILE_MIB} MiB`);
  await writeLibrary(library);
  for (const protocol of PROTOCOLS) {
    const site = await startSite(bench, { protocol, folder: library });
    if (!site) continue;
    await addTagScanRows(bench, site);
    await addColdReadRows(bench, site);
    await site[Symbol.asyncDispose]();
  }
  await addFindRows(bench);
}

async function writeLibrary(folder: string): Promise<void> {
  const script = `for i in $(seq "$1"); do
      mkdir -p "$0/scan/$((i % 10))"
      head -c "$2"M /dev/urandom > "$0/scan/$((i % 10))/$i.flac"
    done
    mkdir -p "$0/cold"
    for i in $(seq "$3"); do
      for kind in sequence places; do head -c "$4"M /dev/urandom > "$0/cold/$kind-$i.flac"; done
    done
    chmod -R a+rX "$0"`;
  const sizes = [SCAN_FILES, SCAN_FILE_MIB, COLD_FILES / 2, COLD_FILE_MIB].map(String);
  await Deno.mkdir(folder, { recursive: true });
  await output("bash", ["-c", script, folder, ...sizes], { limitMs: 600_000 });
}

/** One subject's scans. */
interface Scanned {
  seconds: number;
  /** From the origin, of each file, in KiB. */
  kibibytes: number;
  againSeconds: number;
  againKibibytes: number;
  /** Resident memory afterwards, in MiB. */
  memory: number;
}

async function addTagScanRows(bench: Bench, site: Site): Promise<void> {
  const scanned = new Map<Subject, Scanned>();
  bench.tell(`tag scan over ${site.protocol}: musicfs`);
  {
    await using daemon = await startMusicfs(bench, `tags-${site.protocol}`, musicfsOptions(site));
    scanned.set("musicfs", await scanTwice(site, daemon.mountpoint, () => daemon.pid()));
  }
  for (const [name, served] of peersOf(bench, site, "tags")) {
    bench.tell(`tag scan over ${site.protocol}: ${name}`);
    await using peer = await served();
    try {
      scanned.set(name, await scanTwice(site, peer.mountpoint, () => Promise.resolve(peer.pid)));
    } catch (error) {
      bench.tell(`tag scan over ${site.protocol}: ${name} is NOT MEASURED: ${error}`);
    }
  }
  const figures = (of: (one: Scanned) => number): Figures =>
    Object.fromEntries([...scanned].map(([subject, one]) => [subject, of(one)]));
  const title = `Tag scan over ${site.protocol}`;
  const rival = site.protocol === "S3" ? "rclone" : "sshfs";
  bench.add({
    title,
    unit: "s",
    figures: figures((one) => one.seconds),
    targets: [{ bound: "at most", value: 5 }, { beside: rival, bound: "at most", value: 1 }],
    note: `${SCAN_FILES} files of ${SCAN_FILE_MIB} MiB, head 64 KiB and tail 128 KiB, 4 threads; ` +
      `${LINK.delayMs} ms each way, ${LINK.mbit} Mbit. The link needs 3.2 s for what is asked for`,
  });
  bench.add({
    title: `${title}, from the origin per file`,
    unit: "KiB",
    figures: figures((one) => one.kibibytes),
    targets: [{ bound: "at most", value: 260 }],
    note: `bytes on the link until ${SETTLE_MS / 1000} s after the scan; 192 KiB are asked for`,
  });
  bench.add({
    title: `${title}, again`,
    unit: "s",
    figures: figures((one) => one.againSeconds),
    targets: [{ bound: "at most", value: 0.3 }],
    note: "the kernel's caches dropped",
  });
  bench.add({
    title: `${title}, again, from the origin`,
    unit: "KiB",
    figures: figures((one) => one.againKibibytes),
    targets: [{ bound: "at most", value: 1 }],
    note: "of all files together; SSH's keep-alive is 72 bytes each time, so the bound is not 0",
  });
  bench.add({
    title: `${title}, RSS afterwards`,
    unit: "MiB",
    figures: figures((one) => one.memory),
    targets: [{ bound: "at most", value: 250 }],
  });
}

/** Lists the files first, as every player has done before it reads tags. */
async function scanTwice(
  site: Site,
  mountpoint: string,
  pid: () => Promise<number>,
): Promise<Scanned> {
  const folder = join(mountpoint, "scan");
  await output("find", [folder, "-ls"]);
  await dropCaches();
  const first = await scanOnce(site, folder);
  const { all } = await residentMemory(await pid());
  await dropCaches();
  const again = await scanOnce(site, folder);
  return {
    seconds: first.seconds,
    kibibytes: first.bytes / 1024 / SCAN_FILES,
    againSeconds: again.seconds,
    againKibibytes: again.bytes / 1024,
    memory: all,
  };
}

async function scanOnce(
  { link }: Site,
  folder: string,
): Promise<{ seconds: number; bytes: number }> {
  const before = (await link.bytes()).down;
  const { wallMs, files, errors } = await tagScan(folder, { limitMs: SCAN_MS_MAX });
  if (files !== SCAN_FILES || errors > 0) {
    throw new Error(`${files} of ${SCAN_FILES} files in ${folder}, ${errors} with errors`);
  }
  await sleep(SETTLE_MS);
  return { seconds: wallMs / 1000, bytes: (await link.bytes()).down - before };
}

/** First byte and a seek into the middle of some, all of others: files that nobody has read. */
async function addColdReadRows(bench: Bench, site: Site): Promise<void> {
  const measured = new Map<Subject, Cold>();
  bench.tell(`cold reads over ${site.protocol}`);
  {
    await using daemon = await startMusicfs(bench, `cold-${site.protocol}`, musicfsOptions(site));
    measured.set("musicfs", await readColdFiles(daemon.mountpoint));
  }
  for (const [name, served] of peersOf(bench, site, "cold")) {
    await using peer = await served();
    measured.set(name, await readColdFiles(peer.mountpoint));
  }
  const figures = (of: (one: Cold) => number): Figures =>
    Object.fromEntries([...measured].map(([subject, one]) => [subject, of(one)]));
  const title = `Cold ${COLD_FILE_MIB} MiB track over ${site.protocol}`;
  bench.add({
    title: `${title}, first byte`,
    unit: "round trips",
    figures: figures((one) => one.firstRoundTrips),
    targets: [{ bound: "at most", value: 3 }],
    note: `open and read of 4 KiB; a round trip is ${ROUND_TRIP_S * 1000} ms; each file is read ` +
      "for the first time",
  });
  bench.add({
    title: `${title}, seek to the middle`,
    unit: "round trips",
    figures: figures((one) => one.seekRoundTrips),
    targets: [{ bound: "at most", value: 2 }],
    note: "right after the first byte",
  });
  bench.add({
    title: `${title}, in sequence`,
    unit: "MiB/s",
    figures: figures((one) => one.mebibytesPerSecond),
    targets: [{ bound: "at least", value: Number((0.9 * LINK_MIB_PER_S).toFixed(2)) }],
    note: `from open to the last byte; the link gives ${LINK_MIB_PER_S.toFixed(2)} MiB/s`,
  });
}

const LINK_MIB_PER_S = LINK.mbit * 1e6 / 8 / 2 ** 20;

interface Cold {
  firstRoundTrips: number;
  seekRoundTrips: number;
  mebibytesPerSecond: number;
}

async function readColdFiles(mountpoint: string): Promise<Cold> {
  const folder = join(mountpoint, "cold");
  await output("ls", ["-l", folder]);
  const first: number[] = [];
  const seek: number[] = [];
  const rate: number[] = [];
  for (let i = 1; i <= COLD_FILES / 2; i += 1) {
    rate.push(COLD_FILE_MIB / secondsOfWhole(join(folder, `sequence-${i}.flac`)));
  }
  for (let i = 1; i <= COLD_FILES / 2; i += 1) {
    const places = secondsOfPlaces(join(folder, `places-${i}.flac`));
    first.push(places.first / ROUND_TRIP_S);
    seek.push(places.seek / ROUND_TRIP_S);
    // What was begun for it is no concern of the next one.
    await sleep(SETTLE_MS);
  }
  return {
    firstRoundTrips: median(first),
    seekRoundTrips: median(seek),
    mebibytesPerSecond: median(rate),
  };
}

/** Blocks this process, which has nothing else to do: the link is another one. */
function secondsOfWhole(path: string): number {
  const start = performance.now();
  using file = Deno.openSync(path);
  readWhole(file);
  return (performance.now() - start) / 1000;
}

function secondsOfPlaces(path: string): { first: number; seek: number } {
  const start = performance.now();
  using file = Deno.openSync(path);
  const block = new Uint8Array(4096);
  readAt(file, block, 0);
  const opened = performance.now();
  readAt(file, block, COLD_FILE_MIB / 2 * 2 ** 20);
  const sought = performance.now();
  return { first: (opened - start) / 1000, seek: (sought - opened) / 1000 };
}

function readWhole(file: Deno.FsFile): void {
  const piece = new Uint8Array(128 * 1024);
  for (let at = 0; at < COLD_FILE_MIB * 2 ** 20; at += piece.length) readAt(file, piece, at);
}

function readAt(file: Deno.FsFile, into: Uint8Array, offset: number): void {
  file.seekSync(offset, Deno.SeekMode.Start);
  if (file.readSync(into) !== into.length) throw new Error("A short read");
}

/** `find -ls` of a tree nobody has seen, from the start of the program, and without the server. */
export async function addFindRows(bench: Bench): Promise<void> {
  const folder = join(bench.dir, "network-tree");
  const script = `for i in $(seq 0 ${FIND_FOLDERS - 1}); do
      d="$0/Artist $((i / 10))/Album $i"; mkdir -p "$d"
      for j in $(seq ${FIND_FILES / FIND_FOLDERS}); do echo >"$d/$j Track.flac"; done
    done; chmod -R a+rX "$0"`;
  await output("bash", ["-c", script, folder]);
  const site = await startSite(bench, { protocol: "SFTP", folder });
  if (!site) return;
  const figures: Figures = {};
  const name = "find-SFTP";
  bench.tell("find -ls over SFTP");
  const plain = await findCold(bench, site, name);
  figures.musicfs = plain.seconds;
  for (const [peer, served] of peersOf(bench, site, "find")) {
    bench.tell(`find -ls over SFTP: ${peer}`);
    const peerStart = performance.now();
    await using mounted = await served();
    await findAll(mounted.mountpoint);
    figures[peer] = (performance.now() - peerStart) / 1000;
  }
  bench.add({
    title: `find -ls over SFTP, ${FIND_FILES.toLocaleString("en-US")} files, cold`,
    unit: "s",
    figures,
    targets: [{ bound: "at most", value: 6 }],
    note: `${FIND_FOLDERS} folders, ${ROUND_TRIP_S * 1000} ms there and back; from the start of ` +
      `each program, musicfs's READY=1 after ${plain.readySeconds.toFixed(2)} s`,
  });
  await addIndexedFindRow(bench, site, { folder, peers: figures });
  await site.link.drop();
  const offlineStart = performance.now();
  await using daemon = await Musicfs.spawn(bench, name, musicfsOptions(site));
  await daemon.ready();
  const offlineReady = (performance.now() - offlineStart) / 1000;
  bench.add({
    title: "find -ls over SFTP, after a restart with no server",
    unit: "s",
    figures: { musicfs: await findAll(daemon.mountpoint) },
    targets: [{ bound: "at most", value: 0.3 }],
    note: `right after READY=1, which took ${offlineReady.toFixed(2)} s`,
  });
}

/** The same with an index that lies beside the music; what peers make of it is what it was. */
async function addIndexedFindRow(
  bench: Bench,
  site: Site,
  { folder, peers }: { folder: string; peers: Figures },
): Promise<void> {
  const { code, stderr } = await musicfs(["index", folder]);
  if (code !== 0) throw new Error(`musicfs index ended with ${code}: ${stderr}`);
  bench.tell("find -ls over SFTP with an index");
  const rounds: FoundCold[] = [];
  for (let i = 0; i < bench.options.rounds; i += 1) {
    rounds.push(await findCold(bench, site, `find-index-${i}`));
  }
  const { readySeconds, seconds } = rounds.toSorted((a, b) => a.seconds - b.seconds)
    .at(Math.floor(rounds.length / 2)) ?? { readySeconds: 0, seconds: 0 };
  bench.add({
    title: `find -ls over SFTP, ${FIND_FILES.toLocaleString("en-US")} files, cold, with an index`,
    unit: "s",
    figures: { ...peers, musicfs: seconds },
    targets: [{ bound: "at most", value: 1 }],
    note: `a published index; the others as above. From the start of the program; ` +
      `${(seconds - readySeconds).toFixed(2)} s from READY=1, and without an index ` +
      `${(peers.musicfs ?? 0).toFixed(2)} s. The median of ${rounds.length}`,
  });
}

/** How long a first mount took, from the start of the program. */
interface FoundCold {
  readySeconds: number;
  /** To the end of `find -ls`. */
  seconds: number;
}

async function findCold(bench: Bench, site: Site, name: string): Promise<FoundCold> {
  const start = performance.now();
  await using daemon = await startMusicfs(bench, name, musicfsOptions(site));
  const readySeconds = (performance.now() - start) / 1000;
  await findAll(daemon.mountpoint);
  return { readySeconds, seconds: (performance.now() - start) / 1000 };
}

/** Seconds of `find -ls`; fails if a file is missing. */
async function findAll(mountpoint: string): Promise<number> {
  const start = performance.now();
  const listing = await output("find", [mountpoint, "-ls"]);
  const seconds = (performance.now() - start) / 1000;
  const files = listing.match(/ Track\.flac$/gm)?.length;
  if (files !== FIND_FILES) throw new Error(`${files} files at ${mountpoint}`);
  return seconds;
}

function musicfsOptions(
  site: Site,
): { origin: string; cache: "auto"; env: Record<string, string> } {
  return { origin: site.origin, cache: "auto", env: site.env };
}

/** Who else mounts the site, each started by its function. */
function peersOf(bench: Bench, site: Site, what: string): [Subject, () => Promise<Served>][] {
  const name = `${what}-${site.protocol}`;
  const peers: [Subject, () => Promise<Served>][] = [];
  if (bench.rclone) peers.push(["rclone", () => mountRclone(bench, site, name)]);
  if (site.sshfs) peers.push(["sshfs", () => mountSshfs(bench, site, name)]);
  return peers;
}

async function dropCaches(): Promise<void> {
  if (Deno.uid() !== 0) return;
  await output("sync", []);
  await Deno.writeTextFile("/proc/sys/vm/drop_caches", "3\n");
}

async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
