/** A rectangle in a picture, in pixels from its top left corner. */
export interface Box {
  readonly left: number
  readonly top: number
  readonly right: number
  readonly bottom: number
}

/** Something that a detector found. */
export interface Found {
  readonly box: Box
  readonly score: number
}

/**
 * What was found, the surest first, without what shares more than `mostShared` of what both cover with something surer
 * (the `nms` of insightface and YOLOX, in their float32, which counts pixels at both ends).
 */
export function apart<F extends Found>(found: readonly F[], mostShared: number): F[] {
  const f = Math.fround
  const side = (from: number, to: number) => f(f(to - from) + 1)
  const area = ({ box }: Found) => f(side(box.left, box.right) * side(box.top, box.bottom))
  const shared = (a: Found, b: Found) => {
    const across = side(Math.max(a.box.left, b.box.left), Math.min(a.box.right, b.box.right))
    const down = side(Math.max(a.box.top, b.box.top), Math.min(a.box.bottom, b.box.bottom))
    const both = f(Math.max(0, across) * Math.max(0, down))
    return f(both / f(f(area(a) + area(b)) - both))
  }
  const kept: F[] = []
  for (const one of found.toSorted((a, b) => b.score - a.score))
    if (kept.every((surer) => shared(surer, one) <= f(mostShared))) kept.push(one)
  return kept
}
