import type { Ink } from "../../../ground/image.ts"

/**
 * A line of text in the browser's sans serif, `size` pixels from line to line, cut to its ink; undefined where it has no
 * ink. Browsers find a letter for every character, or do not tell.
 */
export async function drawText(text: string, size: number): Promise<Ink | undefined> {
  const font = `${size}px sans-serif`
  const ruler = new OffscreenCanvas(1, 1).getContext("2d")!
  ruler.font = font
  const box = ruler.measureText(text)
  const left = Math.ceil(box.actualBoundingBoxLeft)
  const top = Math.ceil(box.actualBoundingBoxAscent)
  const width = left + Math.ceil(box.actualBoundingBoxRight)
  const height = top + Math.ceil(box.actualBoundingBoxDescent)
  if (width <= 0 || height <= 0) return undefined
  const context = new OffscreenCanvas(width, height).getContext("2d")!
  context.font = font
  context.fillText(text, left, top)
  const { data } = context.getImageData(0, 0, width, height)
  return { width, height, data: Uint8Array.from({ length: width * height }, (_, i) => data[4 * i + 3]) }
}
