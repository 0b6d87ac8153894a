import { drawText } from "#platform"
import type { Ink } from "../ground/image.ts"
import { letterRows, letterSize } from "../ground/letters.ts"

/** Distances in pixels of the letters, of which each is `scale` wide in the picture. */
const ADVANCE = letterSize.width + 1
/** From line to line, at least. */
const LINE = letterSize.height + 3
/** Labels are cut after so many lines. */
const MOST_LINES = 3

/** Characters as wide as two letters. */
const wide =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60]/u

/** How large letters are, and how much room lines have. */
export interface LetteringOptions {
  /** Sides of the pixels of letters, in pixels. */
  readonly scale: number
  /** In pixels; lines are broken to it. */
  readonly maxWidth: number
}

/**
 * A text as ink, in lines: in limn's own letters where it is plain ASCII, and else in the machine's. Undefined where the
 * machine has no letters for it.
 */
export async function lettering(
  text: string,
  { scale, maxWidth }: LetteringOptions,
): Promise<Ink | undefined> {
  const columns = Math.max(1, Math.floor((maxWidth / scale + 1) / ADVANCE))
  const lines: Ink[] = []
  for (const line of brokenLines(text, columns)) {
    const ink = ownInk(line, scale) ?? (await machineInk(line, scale, maxWidth))
    if (ink === undefined) return undefined
    lines.push(ink)
  }
  return stacked(lines, scale)
}

/** A text in lines of so many columns, broken at spaces or, where there are none, between characters. */
export function brokenLines(text: string, columns: number): string[] {
  const lines: string[] = []
  let line = ""
  for (const piece of piecesOf(text, columns)) {
    if (line !== "" && columnsOf((line + piece).trimEnd()) > columns) {
      lines.push(line.trimEnd())
      line = ""
    }
    line += line === "" ? piece.trimStart() : piece
  }
  lines.push(line.trimEnd())
  if (lines.length <= MOST_LINES) return lines
  const dots = "...".slice(0, columns)
  const last = Array.from(lines[MOST_LINES - 1])
  while (columnsOf(last.join("")) > columns - dots.length) last.pop()
  return [...lines.slice(0, MOST_LINES - 1), last.join("").trimEnd() + dots]
}

/** What may stand in a line of its own: words with the space behind them, single wide characters, parts of long words. */
function piecesOf(text: string, columns: number): string[] {
  const words = text.trim().match(new RegExp(`${wide.source}\\s*|(?:(?!${wide.source})\\S)+\\s*`, "gu")) ?? []
  return words.flatMap((word) => {
    const characters = Array.from(word)
    const count = Math.ceil(characters.length / columns)
    return columnsOf(word.trimEnd()) <= columns
      ? [word]
      : Array.from({ length: count }, (_, i) => characters.slice(i * columns, (i + 1) * columns).join(""))
  })
}

function columnsOf(text: string): number {
  return Array.from(text).reduce((sum, character) => sum + (wide.test(character) ? 2 : 1), 0)
}

/** Undefined where there is no letter for a character. */
function ownInk(line: string, scale: number): Ink | undefined {
  const letters = Array.from(line, letterRows)
  if (!letters.every((rows) => rows !== undefined)) return undefined
  const width = Math.max(1, letters.length * ADVANCE - 1) * scale
  const height = letterSize.height * scale
  const data = new Uint8Array(width * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const column = Math.floor(x / scale)
      const bit = letterSize.width - 1 - (column % ADVANCE)
      const row = letters[Math.floor(column / ADVANCE)]?.[Math.floor(y / scale)] ?? 0
      if (bit >= 0 && (row >> bit) & 1) data[y * width + x] = 255
    }
  return { width, height, data }
}

/** The machine's letters about as large as limn's, smaller where the line would not fit. */
async function machineInk(line: string, scale: number, maxWidth: number): Promise<Ink | undefined> {
  const size = 2 * ADVANCE * scale
  const ink = await drawText(line, size)
  if (ink === undefined || ink.width <= maxWidth) return ink
  return drawText(line, Math.max(1, Math.floor((size * maxWidth) / ink.width)))
}

/** Lines one under the other, each in the middle of its room; the machine's letters may be taller than limn's. */
function stacked(lines: readonly Ink[], scale: number): Ink {
  const rooms = lines.map((line) => Math.max(LINE * scale, line.height + 2 * scale))
  const width = Math.max(...lines.map((line) => line.width))
  const height = rooms.reduce((sum, room) => sum + room, 0)
  const data = new Uint8Array(width * height)
  let start = 0
  for (const [i, line] of lines.entries()) {
    const left = Math.floor((width - line.width) / 2)
    const top = start + Math.floor((rooms[i] - line.height) / 2)
    for (let y = 0; y < line.height; y++)
      data.set(line.data.subarray(y * line.width, (y + 1) * line.width), (top + y) * width + left)
    start += rooms[i]
  }
  return { width, height, data }
}
