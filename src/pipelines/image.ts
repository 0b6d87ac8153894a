import { writeFileAtomic } from "#platform"
import { encodePng } from "../formats/png.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import { resizeImage } from "../ground/resize.ts"
import { roundHalfEven } from "../ground/rounding.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"

/** A picture that a model made, and how it was made. */
export interface Image {
  readonly pixels: Pixels
  /** What its file keeps about it, by PNG keyword: `parameters` as web tools write it, `limn` as JSON. */
  readonly text: Readonly<Record<string, string>>
  /** A PNG file with the text inside. */
  toPng(): Uint8Array
  /** Writes the PNG file, whole or not at all. Throws a LimnError that names the path; there are no files in a browser. */
  save(path: string): Promise<void>
}

/** A picture with what its file is to say about it. */
export function image(picture: Pixels, text: Readonly<Record<string, string>>): Image {
  const toPng = () => encodePng(picture, text)
  return {
    pixels: picture,
    text,
    toPng,
    save: (path) => writeFileAtomic(path, [toPng()]),
  }
}

/**
 * What a decoder gave as a picture.   [1, 3, H, W], -1 to 1, more is cut off   ->   H x W pixels of 0 to 255
 * Rounded as diffusers' `VaeImageProcessor` does: in float32, halves to even.
 */
export function pixelsFromTensor(decoded: Tensor<"float32">): Pixels {
  const [, , height, width] = decoded.shape
  const size = height * width
  const data = new Uint8Array(3 * size)
  for (let channel = 0; channel < 3; channel++)
    for (let i = 0; i < size; i++) {
      const unit = Math.fround(Math.fround(decoded.data[channel * size + i] * 0.5) + 0.5)
      data[3 * i + channel] = roundHalfEven(Math.fround(Math.min(1, Math.max(0, unit)) * 255))
    }
  return pixels(width, height, 3, data)
}

/**
 * A picture as models take it, resized by Lanczos' filter, its transparent parts white: [1, 3, height, width] in
 * [-1, 1] (diffusers `VaeImageProcessor.preprocess`).
 */
export function pixelTensor(picture: Pixels, width: number, height: number): Tensor<"float32"> {
  const { shape, data } = unitTensor(picture, width, height)
  return float32(
    shape,
    data.map((v) => 2 * v - 1),
  )
}

/** The same in [0, 1], as ControlNets take pictures. */
export function unitTensor(picture: Pixels, width: number, height: number): Tensor<"float32"> {
  const { data } = resizeImage(opaque(picture), width, height)
  const size = width * height
  const values = new Float32Array(3 * size)
  for (let i = 0; i < data.length; i++) values[(i % 3) * size + Math.floor(i / 3)] = data[i] / 255
  return float32([1, 3, height, width], values)
}

/** Red, green and blue alone, over white where the picture is transparent. */
export function opaque(picture: Pixels): Pixels {
  const { width, height, channels, data } = picture
  if (channels === 3) return picture
  const out = new Uint8Array(width * height * 3)
  for (let i = 0; i < width * height; i++) {
    const alpha = data[4 * i + 3] / 255
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(data[4 * i + c] * alpha + 255 * (1 - alpha))
  }
  return pixels(width, height, 3, out)
}
