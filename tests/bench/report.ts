/** Figures, what they are held to, and how they are shown. */

/** What is measured beside musicfs, in one run and on the same files. */
export const PEERS = ["limit", "rclone", "sshfs", "disk"] as const;

export type Peer = typeof PEERS[number];
export type Subject = "musicfs" | Peer;

/** What musicfs's figure must be: itself, or divided by a peer's. */
export interface Target {
  /** Left out: the figure itself. */
  beside?: Peer;
  bound: "at least" | "at most";
  value: number;
}

/** One thing that was measured. */
export interface Row {
  title: string;
  unit: string;
  /** Medians over the rounds. A peer that is missing here could not be measured. */
  figures: Partial<Record<Subject, number>>;
  targets: readonly Target[];
  /** What a reader must know to judge the figure. */
  note?: string;
}

export type Verdict = "ok" | "short" | "not measured";

export interface Judgement {
  /** The figure, or its ratio to the peer's. */
  ratio: number | undefined;
  target: string;
  verdict: Verdict;
}

/** Holds a row to one of its targets. */
export function judge(row: Row, target: Target): Judgement {
  const own = row.figures.musicfs;
  const other = target.beside ? row.figures[target.beside] : 1;
  const sign = target.bound === "at least" ? "≥" : "≤";
  const unit = target.beside ? `× ${target.beside}` : row.unit;
  const text = `${sign} ${target.value} ${unit}`;
  if (own === undefined || other === undefined) {
    return { ratio: undefined, target: text, verdict: "not measured" };
  }
  const ratio = own / other;
  const holds = target.bound === "at least" ? ratio >= target.value : ratio <= target.value;
  return { ratio, target: text, verdict: holds ? "ok" : "short" };
}

const HEADINGS = ["", "unit", "musicfs", ...PEERS, "ratio", "target", ""];
const TITLE_COLUMNS = [0, 1, 8, 9];

/** The rows as a table, a line a target, with the notes below. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [HEADINGS, ...rows.flatMap(linesOf)];
  const widths = HEADINGS.map((_, column) =>
    Math.max(...lines.map((cells) => (cells[column] ?? "").length))
  );
  const shown = lines.map((cells) =>
    cells.map((cell, column) => {
      const width = widths[column] ?? 0;
      return TITLE_COLUMNS.includes(column) ? cell.padEnd(width) : cell.padStart(width);
    }).join("  ").trimEnd()
  );
  const notes = rows.flatMap(({ title, note }) => note ? [`${title}: ${note}`] : []);
  return [...shown, "", ...notes].join("\n").trimEnd() + "\n";
}

/** Everything a program wants to read. */
export function jsonOf(rows: readonly Row[], about: Record<string, unknown>): string {
  const judged = rows.map((row) => ({
    ...row,
    judgements: row.targets.map((target) => judge(row, target)),
  }));
  return JSON.stringify({ format: 1, about, rows: judged }, null, 2) + "\n";
}

/** How many targets came out how. */
export function countVerdicts(rows: readonly Row[]): Record<Verdict, number> {
  const counts = { "ok": 0, "short": 0, "not measured": 0 };
  for (const row of rows) {
    for (const target of row.targets) counts[judge(row, target).verdict] += 1;
  }
  return counts;
}

/** The middle one; of an even number the lower middle. */
export function median(values: readonly number[]): number {
  const middle = values.toSorted((a, b) => a - b)[Math.ceil(values.length / 2) - 1];
  if (middle === undefined) throw new RangeError("There is no median of nothing");
  return middle;
}

function linesOf(row: Row): string[][] {
  const figures = [row.figures.musicfs, ...PEERS.map((peer) => row.figures[peer])].map(figure);
  const judgements = row.targets.map((target) => judge(row, target));
  const [first, ...others] = judgements;
  const head = [row.title, row.unit, ...figures];
  const blank = head.map(() => "");
  return [
    [...head, ...(first ? verdictCells(first) : ["", "", ""])],
    ...others.map((judgement) => [...blank, ...verdictCells(judgement)]),
  ];
}

function verdictCells({ ratio, target, verdict }: Judgement): string[] {
  return [figure(ratio), target, verdict === "ok" ? "ok" : verdict.toUpperCase()];
}

/** Three digits that mean something. */
function figure(value: number | undefined): string {
  if (value === undefined) return "-";
  if (value >= 1000) return Math.round(value).toLocaleString("en-US");
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
