/** From a share of the steps on, up to a share of them, 0 to 1. */
export type Interval = readonly [start: number, end: number]

/** Whether these are two shares of the steps, the lower first. */
export function isInterval([start, end]: Interval): boolean {
  return start >= 0 && start < end && end <= 1
}

/** Whether step `index` of `steps`, from 0, lies wholly in an interval. */
export function isWithin([start, end]: Interval, index: number, steps: number): boolean {
  return index / steps >= start && (index + 1) / steps <= end
}
