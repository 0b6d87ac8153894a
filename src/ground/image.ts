import { LimnError } from "./errors.ts"

/** Pixels in memory: rows from the top, red green blue (alpha) in each pixel, 0 to 255. */
export interface Pixels {
  readonly width: number
  readonly height: number
  readonly channels: 3 | 4
  readonly data: Uint8Array
}

/** Ink in memory: rows from the top, how much of each pixel is covered, 0 to 255. */
export interface Ink {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array
}

/** Pixels over existing bytes. Throws where their count is not width x height x channels. */
export function pixels(width: number, height: number, channels: 3 | 4, data: Uint8Array): Pixels {
  if (data.length !== width * height * channels)
    throw new LimnError(
      `A picture of ${width}x${height}x${channels} needs ${width * height * channels} bytes, not ${data.length}.`,
    )
  return { width, height, channels, data }
}

/** A picture whose rows are the columns of another, from the left. */
export function transposed({ width, height, channels, data }: Pixels): Pixels {
  const out = new Uint8Array(data.length)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++)
        out[(x * height + y) * channels + c] = data[(y * width + x) * channels + c]
  return pixels(height, width, channels, out)
}
