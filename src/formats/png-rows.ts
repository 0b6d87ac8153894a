/** The part of a picture that one of Adam7's passes holds: every `dx`th pixel of every `dy`th row, from `x`, `y` on. */
export interface Pass {
  readonly x: number
  readonly y: number
  readonly dx: number
  readonly dy: number
  readonly width: number
  readonly height: number
}

const ADAM7 = [
  { x: 0, y: 0, dx: 8, dy: 8 },
  { x: 4, y: 0, dx: 8, dy: 8 },
  { x: 0, y: 4, dx: 4, dy: 8 },
  { x: 2, y: 0, dx: 4, dy: 4 },
  { x: 0, y: 2, dx: 2, dy: 4 },
  { x: 1, y: 0, dx: 2, dy: 2 },
  { x: 0, y: 1, dx: 1, dy: 2 },
]
const WHOLE = [{ x: 0, y: 0, dx: 1, dy: 1 }]

/** The passes in which a picture's rows are stored, without the empty ones. */
export function passesOf(width: number, height: number, interlaced: boolean): Pass[] {
  return (interlaced ? ADAM7 : WHOLE)
    .map((pass) => ({
      ...pass,
      width: Math.ceil((width - pass.x) / pass.dx),
      height: Math.ceil((height - pass.y) / pass.dy),
    }))
    .filter((pass) => pass.width > 0 && pass.height > 0)
}

const FILTERS = 5

/**
 * What a row filter foretells of a byte, from the one a pixel to the left, the one above, and the one above that to
 * the left; a row is stored as its differences from that. (A table of functions would take half as long
 * again: nothing called through a table is inlined.)
 */
function predict(filter: number, left: number, above: number, aboveLeft: number): number {
  switch (filter) {
    case 1:
      return left
    case 2:
      return above
    case 3:
      return (left + above) >> 1
    case 4:
      return paeth(left, above, aboveLeft)
    default:
      return 0
  }
}

/** The neighbour nearest to left + above - aboveLeft (PNG specification, 9.4). */
function paeth(left: number, above: number, aboveLeft: number): number {
  const toLeft = Math.abs(above - aboveLeft)
  const toAbove = Math.abs(left - aboveLeft)
  const toAboveLeft = Math.abs(left + above - 2 * aboveLeft)
  if (toLeft <= toAbove && toLeft <= toAboveLeft) return left
  return toAbove <= toAboveLeft ? above : aboveLeft
}

/** Undoes a row's filter in place. Returns false where there is no filter of that number. */
export function unfilterRow(filter: number, row: Uint8Array, above: Uint8Array, pixelBytes: number): boolean {
  if (filter >= FILTERS) return false
  for (let i = 0; i < row.length; i++) {
    const left = i < pixelBytes ? 0 : row[i - pixelBytes]
    const aboveLeft = i < pixelBytes ? 0 : above[i - pixelBytes]
    row[i] += predict(filter, left, above[i], aboveLeft)
  }
  return true
}

/**
 * The rows of a picture, each after the number of its filter and through it. The filter is chosen row by row, by the
 * least sum of absolute differences: the PNG specification's heuristic (12.7) for what will compress best.
 */
export function filterRows(data: Uint8Array, rowBytes: number, pixelBytes: number): Uint8Array {
  const height = data.length / rowBytes
  const out = new Uint8Array(height * (1 + rowBytes))
  const candidate = new Uint8Array(rowBytes)
  let above: Uint8Array = new Uint8Array(rowBytes)
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * rowBytes, (y + 1) * rowBytes)
    const at = y * (1 + rowBytes)
    let least = Number.POSITIVE_INFINITY
    for (let filter = 0; filter < FILTERS; filter++) {
      const sum = filterRow(filter, row, above, pixelBytes, candidate)
      if (sum >= least) continue
      least = sum
      out[at] = filter
      out.set(candidate, at + 1)
    }
    above = row
  }
  return out
}

/** Writes a filtered row to `out`. Returns the sum of its bytes' distances from zero, as signed numbers. */
function filterRow(
  filter: number,
  row: Uint8Array,
  above: Uint8Array,
  pixelBytes: number,
  out: Uint8Array,
): number {
  let sum = 0
  for (let i = 0; i < row.length; i++) {
    const left = i < pixelBytes ? 0 : row[i - pixelBytes]
    const aboveLeft = i < pixelBytes ? 0 : above[i - pixelBytes]
    const difference = (row[i] - predict(filter, left, above[i], aboveLeft)) & 0xff
    out[i] = difference
    sum += difference < 128 ? difference : 256 - difference
  }
  return sum
}

/** The samples of a row, `depth` bits each (1, 2, 4, 8 or 16), the highest bits first. */
export function unpackSamples(row: Uint8Array, depth: number, out: Uint16Array): void {
  if (depth === 8) out.set(row)
  else if (depth === 16) for (let i = 0; i < out.length; i++) out[i] = (row[2 * i] << 8) | row[2 * i + 1]
  else
    for (let i = 0; i < out.length; i++) {
      const bit = i * depth
      out[i] = (row[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1)
    }
}
