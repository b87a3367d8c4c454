import { MusicfsError } from "../base/errors.ts";
import type { Table, TableName } from "./index.ts";
import { TABLES } from "./index.ts";

/** The format of the tables that this musicfs reads and writes: a u32, big-endian, in `meta`. */
export const INDEX_FORMAT = 1;

const FORMAT_KEY = new TextEncoder().encode("format");
const EPOCH_KEY = new TextEncoder().encode("epoch");
const EPOCH_BYTES = 16;

/** What `adoptMeta` needs of an index that has yet to learn its epoch. */
interface Tables {
  table(name: TableName): Table;
  transaction<T>(change: () => T): T;
}

/** What an index says of itself. */
export interface IndexMeta {
  /** 32 hex digits. */
  epoch: string;
  created: boolean;
}

/** Throws `invalid` if the index is of a newer musicfs, before anything of it is touched. */
export function requireKnownFormat(index: Tables, dir: string): void {
  const format = formatOf(index);
  if (format === undefined || format <= INDEX_FORMAT) return;
  throw new MusicfsError(
    "invalid",
    `Cannot use the cache: its index ${dir} has format ${format}, and this musicfs knows ` +
      `formats up to ${INDEX_FORMAT}. Use the newer musicfs, or another --cache-dir.`,
    { op: "index.open", subject: dir },
  );
}

/**
 * Reads what the index says of itself, or writes it into one that is new and empty.
 *
 * Throws `corrupt` if it is no index of musicfs.
 */
export function adoptMeta(index: Tables, newEpoch: string | undefined): IndexMeta {
  for (const name of TABLES) index.table(name);
  const format = formatOf(index);
  if (format === undefined) return createMeta(index, newEpoch);
  const epoch = index.table("meta").get(EPOCH_KEY);
  if (format === 0 || epoch?.length !== EPOCH_BYTES) throw foreign("it has no epoch");
  return { epoch: epoch.toHex(), created: false };
}

function formatOf(index: Tables): number | undefined {
  const format = index.table("meta").get(FORMAT_KEY);
  if (format === undefined) return undefined;
  if (format.length !== 4) throw foreign("its format is no number");
  return new DataView(format.buffer, format.byteOffset).getUint32(0);
}

function createMeta(index: Tables, newEpoch: string | undefined): IndexMeta {
  if (newEpoch === undefined) throw foreign("it has no format");
  for (const name of TABLES) {
    if (index.table(name).count() > 0) throw foreign(`it has no format, yet records in ${name}`);
  }
  const epoch = Uint8Array.fromHex(newEpoch);
  if (epoch.length !== EPOCH_BYTES) throw new Error(`An epoch has 32 hex digits, not ${newEpoch}`);
  const format = new Uint8Array(4);
  new DataView(format.buffer).setUint32(0, INDEX_FORMAT);
  index.transaction(() => {
    index.table("meta").put(FORMAT_KEY, format);
    index.table("meta").put(EPOCH_KEY, epoch);
  });
  return { epoch: newEpoch, created: true };
}

function foreign(why: string): MusicfsError {
  return new MusicfsError("corrupt", `The index is not one of musicfs: ${why}`, {
    op: "index.open",
    subject: "meta",
  });
}
