import { zlibSync } from "fflate"
import { FormatError, LimnError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import type { PngChunk } from "./png-chunks.ts"
import { concatBytes, inflate, readChunks, writeChunks } from "./png-chunks.ts"
import { filterRows, passesOf, unfilterRow, unpackSamples } from "./png-rows.ts"
import { textChunk } from "./png-text.ts"

const GREY = 0
const RGB = 2
const PALETTE = 3
const GREY_ALPHA = 4
const RGBA = 6

/** Each colour type's samples in a pixel, and the bits that one may have (PNG specification, 11.2.1). */
const colourTypes: Readonly<
  Record<number, { readonly samples: number; readonly depths: readonly number[] }>
> = {
  [GREY]: { samples: 1, depths: [1, 2, 4, 8, 16] },
  [RGB]: { samples: 3, depths: [8, 16] },
  [PALETTE]: { samples: 1, depths: [1, 2, 4, 8] },
  [GREY_ALPHA]: { samples: 2, depths: [8, 16] },
  [RGBA]: { samples: 4, depths: [8, 16] },
}

/** Pictures above 16384 x 16384 are refused. */
const MAX_PIXELS = 2 ** 28

/** A level more costs a third more time and saves less than one percent of a photograph. */
const DEFLATE_LEVEL = 4

/**
 * A PNG file of 8 bits a channel, with `text` in chunks before the picture: tEXt where Latin-1 suffices, else iTXt.
 * Equal pixels and text give equal bytes. Throws a LimnError where there are no pixels, or a keyword or text is one
 * that PNG cannot hold.
 */
export function encodePng(picture: Pixels, text: Readonly<Record<string, string>> = {}): Uint8Array {
  const { width, height, channels, data } = picture
  if (width === 0 || height === 0) throw new LimnError("A PNG file needs at least one pixel.")
  const header = new Uint8Array(13)
  const view = new DataView(header.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  header[8] = 8
  header[9] = channels === 3 ? RGB : RGBA
  const rows = filterRows(data, width * channels, channels)
  return writeChunks([
    { type: "IHDR", data: header },
    ...Object.entries(text).map(([keyword, value]) => textChunk(keyword, value)),
    { type: "IDAT", data: zlibSync(rows, { level: DEFLATE_LEVEL }) },
  ])
}

/**
 * The pixels of any PNG file, as 8-bit red green blue, with alpha where the file has it (tRNS included). Grey and
 * palettes become colours, 16 bits are rounded to 8, interlaced rows are put in order; colour profiles and gamma are
 * passed over. Throws a FormatError, in which the file is called `name`, where it is damaged or above 2^28 pixels.
 */
export function decodePng(bytes: Uint8Array, name = "The picture"): Pixels {
  const chunks = readChunks(bytes, name)
  const header = readHeader(chunks[0], name)
  const { width, height, depth, samples } = header
  const bitsPerPixel = depth * samples
  const passes = passesOf(width, height, header.interlaced)
  const size = passes.reduce((sum, pass) => sum + pass.height * (1 + rowLength(pass.width, bitsPerPixel)), 0)
  const compressed = concatBytes(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data))
  const rows = inflate(compressed, size, `The pixel data of ${name}`)
  if (rows.length < size)
    throw new FormatError(
      `${name} should hold ${width}x${height} pixels in ${size} bytes, but has only ${rows.length}: it is damaged.`,
    )

  const { channels, paint } = painterOf(header, chunks, name)
  const out = new Uint8Array(width * height * channels)
  const pixelBytes = Math.ceil(bitsPerPixel / 8)
  let at = 0
  for (const pass of passes) {
    const row = new Uint16Array(pass.width * samples)
    const length = rowLength(pass.width, bitsPerPixel)
    let above: Uint8Array = new Uint8Array(length)
    for (let y = 0; y < pass.height; y++) {
      const filter = rows[at]
      const stored = rows.subarray(at + 1, at + 1 + length)
      if (!unfilterRow(filter, stored, above, pixelBytes))
        throw new FormatError(
          `${name} has a row with filter ${filter}, and PNG has only 0 to 4: it is damaged.`,
        )
      unpackSamples(stored, depth, row)
      const rowStart = (pass.y + y * pass.dy) * width + pass.x
      for (let x = 0; x < pass.width; x++) paint(row, x * samples, out, (rowStart + x * pass.dx) * channels)
      above = stored
      at += 1 + length
    }
  }
  return pixels(width, height, channels, out)
}

interface Header {
  readonly width: number
  readonly height: number
  readonly depth: number
  readonly colourType: number
  /** In each pixel. */
  readonly samples: number
  readonly interlaced: boolean
}

function readHeader(chunk: PngChunk | undefined, name: string): Header {
  if (chunk?.type !== "IHDR" || chunk.data.length !== 13)
    throw new FormatError(
      `${name} does not begin with a PNG header: it is damaged or a variant for one system only.`,
    )
  const view = new DataView(chunk.data.buffer, chunk.data.byteOffset, chunk.data.byteLength)
  const width = view.getUint32(0)
  const height = view.getUint32(4)
  if (width === 0 || height === 0)
    throw new FormatError(`${name} has ${width}x${height} pixels: it is damaged.`)
  if (width * height > MAX_PIXELS)
    throw new FormatError(
      `${name} has ${width}x${height} pixels, more than the ${MAX_PIXELS} that limn reads.`,
    )
  const [depth, colourType, compression, filter, interlace] = chunk.data.subarray(8)
  const colour = colourTypes[colourType]
  if (!colour?.depths.includes(depth))
    throw new FormatError(
      `${name} has colour type ${colourType} of ${depth} bits, which PNG has not: it is damaged.`,
    )
  if (compression !== 0 || filter !== 0 || interlace > 1)
    throw new FormatError(
      `${name} is packed by methods ${compression}, ${filter} and ${interlace}, which PNG has not: it is damaged.`,
    )
  return { width, height, depth, colourType, samples: colour.samples, interlaced: interlace === 1 }
}

function rowLength(width: number, bitsPerPixel: number): number {
  return Math.ceil((width * bitsPerPixel) / 8)
}

/** How one pixel's samples, from `i` on, become bytes of the picture, from `o` on. */
interface Painter {
  readonly channels: 3 | 4
  readonly paint: (samples: Uint16Array, i: number, out: Uint8Array, o: number) => void
}

function painterOf(header: Header, chunks: readonly PngChunk[], name: string): Painter {
  const find = (type: string) => chunks.find((chunk) => chunk.type === type)?.data
  const transparency = find("tRNS")
  return header.colourType === PALETTE
    ? palettePainter(find("PLTE"), transparency, name)
    : directPainter(header, transparency, name)
}

function palettePainter(
  palette: Uint8Array | undefined,
  alphas: Uint8Array | undefined,
  name: string,
): Painter {
  if (palette === undefined)
    throw new FormatError(`${name} has no palette though its pixels need one: it is damaged.`)
  const count = Math.floor(palette.length / 3)
  const channels = alphas === undefined ? 3 : 4
  return {
    channels,
    paint(samples, i, out, o) {
      const colour = samples[i]
      if (colour >= count)
        throw new FormatError(`${name} uses colour ${colour} of a palette of ${count}: it is damaged.`)
      for (let c = 0; c < 3; c++) out[o + c] = palette[3 * colour + c]
      if (channels === 4) out[o + 3] = alphas?.[colour] ?? 255
    },
  }
}

function directPainter({ depth, colourType }: Header, key: Uint8Array | undefined, name: string): Painter {
  const hasAlpha = colourType === GREY_ALPHA || colourType === RGBA
  const colours = colourType === GREY || colourType === GREY_ALPHA ? 1 : 3
  const largest = 2 ** depth - 1
  const toByte = (sample: number) => Math.round((sample * 255) / largest)

  // Without alpha, tRNS may name one colour, of 16 bits a sample, that is wholly transparent.
  const keyed = !hasAlpha && key !== undefined
  if (keyed && key.length !== 2 * colours)
    throw new FormatError(`${name} names its transparent colour in ${key.length} bytes: it is damaged.`)
  const transparent = keyed
    ? Array.from({ length: colours }, (_, c) => (key[2 * c] << 8) | key[2 * c + 1])
    : []
  const alphaOf = (samples: Uint16Array, i: number) => {
    if (hasAlpha) return toByte(samples[i + colours])
    return transparent.every((sample, c) => sample === samples[i + c]) ? 0 : 255
  }

  const channels = hasAlpha || keyed ? 4 : 3
  const green = colours === 1 ? 0 : 1
  const blue = colours === 1 ? 0 : 2
  return {
    channels,
    paint(samples, i, out, o) {
      out[o] = toByte(samples[i])
      out[o + 1] = toByte(samples[i + green])
      out[o + 2] = toByte(samples[i + blue])
      if (channels === 4) out[o + 3] = alphaOf(samples, i)
    },
  }
}
