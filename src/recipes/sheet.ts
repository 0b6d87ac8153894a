import type { Ink, Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import { lettering } from "./lettering.ts"

/** Pictures in rows and columns, and what stands beside them. */
export interface SheetContent {
  /** In rows, all of one size, without transparency. */
  readonly cells: readonly (readonly Pixels[])[]
  /** One above each column. */
  readonly columns: readonly SheetLabel[]
  /** One to the left of each row; none where there is nothing to say. */
  readonly rows: readonly SheetLabel[]
}

/** What a label says, and what it says where the machine has no letters for that. */
export interface SheetLabel {
  readonly text: string
  readonly plain: string
}

/** A picture of pictures. */
export interface Sheet {
  readonly pixels: Pixels
  /** The labels that could only be shown by what stands for them. */
  readonly replaced: readonly SheetLabel[]
}

const PAPER = 255
/** Dark grey. */
const INK = 40

/** Puts pictures on white, with their labels; letters grow with the pictures. */
export async function sheet({ cells, columns, rows }: SheetContent): Promise<Sheet> {
  const [[{ width, height }]] = cells
  const scale = Math.max(1, Math.floor(Math.min(width, height) / 256))
  const gap = 4 * scale
  const replaced: SheetLabel[] = []
  const inkOf = async (label: SheetLabel, maxWidth: number): Promise<Ink> => {
    const ink = await lettering(label.text, { scale, maxWidth })
    if (ink !== undefined) return ink
    replaced.push(label)
    return (await lettering(label.plain, { scale, maxWidth }))!
  }
  const above: Ink[] = []
  for (const label of columns) above.push(await inkOf(label, width))
  const beside: Ink[] = []
  for (const label of rows) beside.push(await inkOf(label, width))

  const most = (sizes: readonly number[]) => Math.max(0, ...sizes)
  const left = beside.length === 0 ? gap : most(beside.map((ink) => ink.width)) + 2 * gap
  const top = most(above.map((ink) => ink.height)) + 2 * gap
  const across = left + cells[0].length * (width + gap)
  const down = top + cells.length * (height + gap)
  const page = pixels(across, down, 3, new Uint8Array(3 * across * down).fill(PAPER))
  const columnAt = (i: number) => left + i * (width + gap)
  const rowAt = (i: number) => top + i * (height + gap)
  const middle = (start: number, room: number, size: number) => start + Math.floor((room - size) / 2)

  for (const [row, line] of cells.entries())
    for (const [column, cell] of line.entries()) place(page, cell, columnAt(column), rowAt(row))
  for (const [i, ink] of above.entries())
    write(page, ink, middle(columnAt(i), width, ink.width), top - gap - ink.height)
  for (const [i, ink] of beside.entries())
    write(page, ink, left - gap - ink.width, middle(rowAt(i), height, ink.height))
  return { pixels: page, replaced }
}

function place(page: Pixels, cell: Pixels, left: number, top: number): void {
  const row = 3 * cell.width
  for (let y = 0; y < cell.height; y++)
    page.data.set(cell.data.subarray(y * row, (y + 1) * row), 3 * ((top + y) * page.width + left))
}

function write(page: Pixels, ink: Ink, left: number, top: number): void {
  for (let y = 0; y < ink.height; y++)
    for (let x = 0; x < ink.width; x++) {
      const covered = ink.data[y * ink.width + x] / 255
      const at = 3 * ((top + y) * page.width + left + x)
      page.data.fill(Math.round(PAPER + (INK - PAPER) * covered), at, at + 3)
    }
}
