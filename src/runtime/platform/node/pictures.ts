import { FormatError, messageOf } from "../../../ground/errors.ts"
import { type Pixels, pixels } from "../../../ground/image.ts"

/** A picture of a hundred million pixels takes 400 MB unpacked; a file of a few kilobytes can claim far more. */
const mostPixels = 1e8

/**
 * A picture file as 8-bit pixels, turned the way its EXIF says, in sRGB. PNG, JPEG, WebP, GIF, AVIF and TIFF.
 * Throws a FormatError, in which the file is called `name`, where it is none of these, damaged or too large.
 */
export async function decodePicture(bytes: Uint8Array, name: string): Promise<Pixels> {
  // Loaded when first needed: most commands draw from text alone.
  const { default: sharp } = await import("sharp")
  try {
    const picture = sharp(bytes, { limitInputPixels: mostPixels, failOn: "error" })
    const { data, info } = await picture
      .autoOrient()
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true })
    return toColour(info.width, info.height, info.channels, data)
  } catch (error) {
    throw new FormatError(
      `${name} cannot be read as a picture: ${messageOf(error).split("\n")[0]}; limn reads PNG, JPEG, WebP, GIF, AVIF and TIFF of up to ${mostPixels / 1e6} million pixels.`,
      { cause: error },
    )
  }
}

/** Three or four channels; grey, with or without transparency, becomes colour. */
function toColour(width: number, height: number, channels: number, data: Uint8Array): Pixels {
  if (channels === 3 || channels === 4) return pixels(width, height, channels, new Uint8Array(data))
  const wide = channels === 1 ? 3 : 4
  const out = new Uint8Array(width * height * wide)
  for (let i = 0; i < width * height; i++) {
    out.fill(data[i * channels], i * wide, i * wide + 3)
    if (wide === 4) out[i * wide + 3] = data[i * channels + 1]
  }
  return pixels(width, height, wide, out)
}
