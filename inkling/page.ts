import { dirname } from "node:path"
import sharp from "sharp"
import { makeFolder, writeFileAtomic } from "#platform"
import type { Pixels } from "../src/ground/image.ts"

/** A picture on a page, with what stands below it. */
export interface Cell {
  readonly picture: Pixels
  readonly text?: string
}

/** How a page is set, in its pixels. */
export interface PageOptions {
  readonly columns: number
  /** Side of each square picture, whatever its own pixels. */
  readonly pictureSide: number
  readonly cellWidth: number
  readonly cellHeight: number
  readonly margin: number
  /** Thin lines between the cells. */
  readonly rules: boolean
}

const font = { size: 13, line: 17, family: "Noto Sans CJK SC, Noto Sans, DejaVu Sans, sans-serif" }
const ink = "#333333"
const ruleInk = "#e4e4e4"
const padding = 8 // around a picture's top and a text's sides

/**
 * Pictures in rows on white, each enlarged and with its text below it.
 * Chinese texts need a font that has them, such as Debian's fonts-noto-cjk.
 */
export async function drawPage(cells: readonly Cell[], options: PageOptions): Promise<Buffer> {
  const { columns, pictureSide, cellWidth, cellHeight, margin } = options
  const rows = Math.ceil(cells.length / columns)
  const placed = cells.map(({ picture, text = "" }, i) => ({
    picture,
    lines: linesOf(text, cellWidth - 2 * padding),
    left: margin + (i % columns) * cellWidth + (cellWidth - pictureSide) / 2,
    top:
      margin +
      Math.floor(i / columns) * cellHeight +
      (text === "" ? (cellHeight - pictureSide) / 2 : padding),
  }))
  const words = placed.flatMap(({ lines, left, top }) => {
    // One line stands where the middle of two would be.
    const first = top + pictureSide + padding + font.size + ((2 - lines.length) * font.line) / 2
    return lines.map(
      (line, k) => `<text x="${left + pictureSide / 2}" y="${first + k * font.line}">${escaped(line)}</text>`,
    )
  })
  const [width, height] = [columns * cellWidth, rows * cellHeight]
  const rules = options.rules ? rulesOf(columns, rows, options) : ""
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width + 2 * margin}" height="${height + 2 * margin}">
    <rect width="100%" height="100%" fill="white"/>
    <path d="${rules}" stroke="${ruleInk}" fill="none"/>
    <g font-family="${font.family}" font-size="${font.size}" fill="${ink}" text-anchor="middle">${words.join("")}</g>
  </svg>`
  const layers = placed.map(async ({ picture, left, top }) => ({
    input: await enlarged(picture, pictureSide),
    left: Math.round(left),
    top: Math.round(top),
  }))
  return sharp(Buffer.from(svg))
    .composite(await Promise.all(layers))
    .removeAlpha()
    .png({ compressionLevel: 9 })
    .toBuffer()
}

/** Writes a page, in a folder that is made where it is not there. */
export async function writePage(path: string, page: Buffer): Promise<void> {
  await makeFolder(dirname(path))
  await writeFileAtomic(path, [page])
}

/** A picture as a PNG of another size. Lanczos keeps round outlines round where nearest pixels would show stairs. */
function enlarged({ data, width, height, channels }: Pixels, side: number): Promise<Buffer> {
  return sharp(data, { raw: { width, height, channels } })
    .resize(side, side, { kernel: "lanczos3" })
    .png()
    .toBuffer()
}

/** Lines around all cells, in the middle of pixels so that they are one pixel wide. */
function rulesOf(columns: number, rows: number, { cellWidth, cellHeight, margin }: PageOptions): string {
  const start = margin + 0.5
  const down = Array.from(
    { length: columns + 1 },
    (_, i) => `M${start + i * cellWidth} ${start}v${rows * cellHeight}`,
  )
  const across = Array.from(
    { length: rows + 1 },
    (_, i) => `M${start} ${start + i * cellHeight}h${columns * cellWidth}`,
  )
  return [...down, ...across].join("")
}

const wide = /[\u2e80-\uffef]/

/** Width of a text in pixels, near enough to break lines: Chinese characters are square, Latin letters about half of that. */
function widthOf(text: string): number {
  let width = 0
  for (const character of text) width += wide.test(character) ? font.size : font.size * 0.53
  return width
}

/** A text in as few lines as fit the width, broken between words; Chinese may break anywhere. */
function linesOf(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.match(/[\u2e80-\uffef]|[^\s\u2e80-\uffef]+\s*/g) ?? []) {
    const longer = (lines.at(-1) ?? "") + word
    if (lines.length > 0 && widthOf(longer.trimEnd()) <= width) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines.map((line) => line.trimEnd())
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
}
