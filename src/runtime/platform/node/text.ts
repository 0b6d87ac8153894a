import type { Ink } from "../../../ground/image.ts"

/** Where a face has no letter, Pango draws a frame with the character's number. This one has none in any font. */
const numberedFrame = (character: string) => (character.codePointAt(0)! > 0xffff ? "\u{10fffd}" : "\uf8fe")

/** Marks that join or colour what stands before them, and show nothing themselves. */
const unseen = /[\s\p{Mark}\p{Cf}]/u

/**
 * A line of text in the system's sans serif, `size` pixels from line to line, cut to its ink; undefined where the system
 * has no letter for one of its characters.
 */
export async function drawText(text: string, size: number): Promise<Ink | undefined> {
  for (const character of new Set(text)) {
    if (unseen.test(character)) continue
    const drawn = await inkOf(character, size)
    if (drawn === undefined || isFrame(drawn, await inkOf(numberedFrame(character), size))) return undefined
  }
  return inkOf(text, size)
}

/** Undefined where there is no ink at all. */
async function inkOf(text: string, size: number): Promise<Ink | undefined> {
  // Loaded when first needed: few pictures have letters.
  const { default: sharp } = await import("sharp")
  // Pango reads markup.
  const plain = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
  try {
    const { data, info } = await sharp({ text: { text: plain, font: `sans ${size}`, dpi: 72 } })
      .extractChannel(0)
      .raw()
      .toBuffer({ resolveWithObject: true })
    return { width: info.width, height: info.height, data: new Uint8Array(data) }
  } catch {
    return undefined
  }
}

/** Whether a character looks like the frame that stands for those without a letter: as large, and with a closed border. */
function isFrame({ width, height, data }: Ink, frame: Ink | undefined): boolean {
  if (frame === undefined || width !== frame.width || height !== frame.height) return false
  const same = (x: number, y: number) => data[y * width + x] === frame.data[y * width + x]
  for (let x = 0; x < width; x++) if (!same(x, 0) || !same(x, height - 1)) return false
  for (let y = 0; y < height; y++) if (!same(0, y) || !same(1, y) || !same(width - 1, y)) return false
  return true
}
