/** Which file a player plays after another: what is worth fetching before it is asked for. */

import type { FileVersion } from "../store/file_version.ts";
import type { Namespace } from "./namespace.ts";
import { entryIdOf, nodeIdOf, ROOT_ID } from "./node_id.ts";

/** Names of a folder that are looked at; a greater folder is no album. */
const NAMES_MAX = 2_000;

/** Extensions of audio files, as players know them. */
const AUDIO = new Set(
  ("aac ac3 aif aiff alac ape dff dsf dts flac m4a m4b mka mp2 mp3 mpc oga ogg opus ra shn spx " +
    "tak tta wav weba wma wv").split(" "),
);

/** "CD1", "Disc 02 - Live": what stands before the number, and the number. */
const DISC = /^(.*?\b(?:cd|disc|disk|side|vol|volume)[ ._-]*)(\d{1,3})\b/i;

const byName = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/**
 * The track after this one: the next audio file of its folder, or the first of the next disc.
 *
 * Undefined for the last track, for what is no audio file, and in folders of more than 2,000 names.
 */
export function nextTrack(namespace: Namespace, nodeId: number): FileVersion | undefined {
  const entry = namespace.entry(entryIdOf(nodeId));
  if (entry?.kind !== "file") return undefined;
  const names = namesIn(namespace, entry.parent);
  const next = names && nextOf(names.files, entry.name);
  if (next !== undefined) return versionIn(namespace, entry.parent, next);
  if (names === undefined || !isAudio(entry.name)) return undefined;
  const folder = namespace.entry(entry.parent);
  if (folder === undefined || folder.id === ROOT_ID) return undefined;
  const discs = namesIn(namespace, folder.parent)?.folders ?? [];
  const disc = nextDiscOf(discs, folder.name);
  const discId = disc === undefined ? undefined : namespace.childId(folder.parent, disc);
  if (discId === undefined) return undefined;
  const first = firstOf(namesIn(namespace, discId)?.files ?? [], entry.name);
  return first === undefined ? undefined : versionIn(namespace, discId, first);
}

/**
 * The name after `current` in the order that players use: numbers count as numbers, case does not
 * count. Where an album lies in several formats, the one of `current` is gone on with.
 */
export function nextOf(names: readonly string[], current: string): string | undefined {
  if (!isAudio(current)) return undefined;
  return firstOf(names.filter((name) => compareTracks(stemOf(name), stemOf(current)) > 0), current);
}

/** The first track among the names, in the format of `current` if it is there in several. */
export function firstOf(names: readonly string[], current: string): string | undefined {
  const tracks = names.filter(isAudio);
  let first: string | undefined;
  for (const name of tracks) {
    const order = first === undefined ? -1 : compareTracks(stemOf(name), stemOf(first));
    const isPreferred = order === 0 && extensionOf(name) === extensionOf(current);
    if (order < 0 || isPreferred) first = name;
  }
  return first;
}

/** The folder of the disc after `current`: same words, the number one higher. */
export function nextDiscOf(names: readonly string[], current: string): string | undefined {
  const disc = DISC.exec(current);
  if (disc === null) return undefined;
  return names.find((name) => {
    const other = DISC.exec(name);
    return other !== null && other[1]?.toLowerCase() === disc[1]?.toLowerCase() &&
      Number(other[2]) === Number(disc[2]) + 1;
  });
}

/** What counts as one kind of file to whoever goes through a folder: all audio, else the extension. */
export function kindOfFile(name: string): string {
  return isAudio(name) ? "audio" : `.${extensionOf(name)}`;
}

function isAudio(name: string): boolean {
  return AUDIO.has(extensionOf(name));
}

function compareTracks(a: string, b: string): number {
  return byName.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

function extensionOf(name: string): string {
  const at = name.lastIndexOf(".");
  return at <= 0 ? "" : name.slice(at + 1).toLowerCase();
}

function stemOf(name: string): string {
  const at = name.lastIndexOf(".");
  return at <= 0 ? name : name.slice(0, at);
}

interface Names {
  files: string[];
  folders: string[];
}

/** Undefined if there are too many. */
function namesIn(namespace: Namespace, folder: number): Names | undefined {
  const names: Names = { files: [], folders: [] };
  let count = 0;
  for (const { name, kind } of namespace.children(folder, 0)) {
    count += 1;
    if (count > NAMES_MAX) return undefined;
    if (kind === "file") names.files.push(name);
    else if (kind === "folder") names.folders.push(name);
  }
  return names;
}

function versionIn(namespace: Namespace, folder: number, name: string): FileVersion | undefined {
  const entry = namespace.child(folder, name);
  if (entry === undefined) return undefined;
  const nodeId = nodeIdOf(entry.id, entry.sequence);
  return namespace.versionOf(nodeId, entry, namespace.pathOf(entry.id));
}
