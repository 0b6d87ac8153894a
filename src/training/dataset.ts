import { absolutePath, openByteSource, readText } from "#platform"
import { locateTensor, readSafetensorsHeader } from "../formats/safetensors.ts"
import { FormatError } from "../ground/errors.ts"
import { formatShape } from "../ground/shape.ts"

/** Pictures of one size, each with captions that say the same in other words or languages. */
export interface CaptionedImages {
  readonly count: number
  readonly width: number
  readonly height: number
  readonly captions: readonly (readonly string[])[]
  /** Bytes of picture i, rows from the top, red green blue in each pixel. Read from the file at every call. */
  pixels(i: number): Uint8Array
  close(): void
}

/**
 * Opens a folder of training pictures: `images.safetensors` with `pixels` U8 [count, height, width, 3], and
 * `captions.jsonl`, a line for each with `"captions": ["...", ...]`.
 * Throws a LimnError where a file is missing, a FormatError where one is broken or they do not agree.
 */
export async function openDataset(folder: string): Promise<CaptionedImages> {
  const path = absolutePath(folder, "images.safetensors")
  const source = await openByteSource(path)
  try {
    const { dtype, shape, offset } = locateTensor(readSafetensorsHeader(source), "pixels")
    if (dtype !== "uint8" || shape.length !== 4 || shape[3] !== 3)
      throw new FormatError(
        `${path} holds pixels as ${dtype}${formatShape(shape)}; limn needs uint8[count, height, width, 3].`,
      )
    const [count, height, width] = shape
    const captions = await readCaptions(absolutePath(folder, "captions.jsonl"), count)
    const size = height * width * 3
    return {
      count,
      width,
      height,
      captions,
      pixels: (i) => source.read(offset + i * size, size),
      close: source.close,
    }
  } catch (error) {
    source.close()
    throw error
  }
}

async function readCaptions(path: string, count: number): Promise<string[][]> {
  const lines = (await readText(path)).trimEnd().split("\n")
  if (lines.length !== count)
    throw new FormatError(`${path} has ${lines.length} lines for ${count} pictures; make both again.`)
  return lines.map((line, i) => captionsOf(line, `${path} line ${i + 1}`))
}

function captionsOf(line: string, where: string): string[] {
  let json: unknown
  try {
    json = JSON.parse(line)
  } catch {
    throw new FormatError(`${where} is not JSON; make it again.`)
  }
  const captions = (json as { captions?: unknown } | null)?.captions
  if (!Array.isArray(captions) || captions.length === 0 || captions.some((text) => typeof text !== "string"))
    throw new FormatError(`${where} needs "captions", a list of at least one text.`)
  return captions
}

/** Pictures of a dataset as a model takes them: [n, 3, height, width], 0 and 255 at -1 and 1. */
export function imageBatch(images: CaptionedImages, indices: ArrayLike<number>): Float32Array {
  const plane = images.width * images.height
  const batch = new Float32Array(indices.length * 3 * plane)
  for (let n = 0; n < indices.length; n++) {
    const bytes = images.pixels(indices[n])
    for (let c = 0; c < 3; c++) {
      const at = (n * 3 + c) * plane
      for (let p = 0; p < plane; p++) batch[at + p] = bytes[3 * p + c] / 127.5 - 1
    }
  }
  return batch
}
