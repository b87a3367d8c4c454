/** Whether a figure stays where it is. */

/** A point of a series: hours, value. */
export type Point = readonly [x: number, y: number];

/**
 * How much a figure grows an hour: the median of the slopes between all pairs of points (Theil and
 * Sen), which a peak of a garbage collector does not move. 0 for fewer than two points.
 */
export function slopeOf(points: readonly Point[]): number {
  const slopes: number[] = [];
  for (const [at, [x1, y1]] of points.entries()) {
    for (const [x2, y2] of points.slice(at + 1)) {
      if (x2 !== x1) slopes.push((y2 - y1) / (x2 - x1));
    }
  }
  slopes.sort((a, b) => a - b);
  const middle = slopes.length >> 1;
  const upper = slopes[middle] ?? 0;
  return slopes.length % 2 === 1 ? upper : (upper + (slopes[middle - 1] ?? 0)) / 2;
}
