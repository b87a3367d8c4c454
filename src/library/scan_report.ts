import { noCounts } from "./library_meta.ts";
import type { OriginScanReport, ScanProgress } from "./scan.ts";

/** How a scan is done. */
export interface ScanOptions {
  /** The user has said that what is gone may go, all of it if need be. */
  acceptDeletions?: boolean;
  /** Go on with a scan that was interrupted in the last minutes; default true. */
  resume?: boolean;
  /**
   * Names of origins whose folders' times move with their names: folders that were listed by a scan
   * of this process, less than an hour ago, are not listed again while their times stay. Default:
   * none, each folder is listed.
   */
  skipUnchanged?: readonly string[];
  /** Names of the origins to scan; default all. */
  origins?: readonly string[];
  onProgress?: (progress: ScanProgress) => void;
  signal: AbortSignal;
}

/** What a scan found, over all origins. Counts are of files unless they say otherwise. */
export interface ScanReport {
  added: number;
  changed: number;
  moved: number;
  gone: number;
  /** Deletions that were not believed, and of how many files; they stay visible. */
  held?: { gone: number; of: number };
  folders: number;
  files: number;
  errors: Error[];
  origins: OriginScanReport[];
}

/** The report of a scan, from those of its origins. */
export function sumOf(origins: OriginScanReport[]): ScanReport {
  const report: ScanReport = {
    added: 0,
    changed: 0,
    moved: 0,
    gone: 0,
    folders: 0,
    files: 0,
    errors: [],
    origins,
  };
  for (const origin of origins) {
    report.added += origin.added;
    report.changed += origin.changed;
    report.moved += origin.moved;
    report.gone += origin.gone;
    report.folders += origin.folders;
    report.files += origin.files;
    report.errors.push(...origin.errors);
    if (!origin.held) continue;
    const { gone, of } = report.held ?? { gone: 0, of: 0 };
    report.held = { gone: gone + origin.held.gone, of: of + origin.held.of };
  }
  return report;
}

/** The report of an origin that could not be scanned at all. */
export function notScanned(origin: string, error: Error): OriginScanReport {
  return { ...noCounts(), origin, resumed: false, errors: [error] };
}
