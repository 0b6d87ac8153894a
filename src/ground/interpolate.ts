/** Numbers in rows from the top, such as how near each part of a picture is. */
export interface Plane {
  readonly width: number
  readonly height: number
  readonly data: Float32Array
}

/**
 * A plane of another size by the cubic convolution of Keys (1981) with a = -3/4, without smoothing: PyTorch's
 * `interpolate(mode="bicubic", align_corners=False)`. Values may exceed those that were there.
 */
export function interpolateBicubic(plane: Plane, width: number, height: number): Plane {
  return turned(stretched(turned(stretched(plane, width)), height))
}

/** The same rows, of another length. */
function stretched({ width, height, data }: Plane, to: number): Plane {
  const out = new Float32Array(to * height)
  const scale = Math.fround(width / to)
  for (let x = 0; x < to; x++) {
    const place = Math.fround(scale * (x + 0.5) - 0.5)
    const left = Math.floor(place)
    const weights = weightsAt(place - left)
    // Beyond its ends a row goes on as it ends.
    const columns = weights.map((_, k) => Math.min(width - 1, Math.max(0, left - 1 + k)))
    for (let y = 0; y < height; y++)
      out[y * to + x] = weights.reduce((sum, weight, k) => sum + weight * data[y * width + columns[k]], 0)
  }
  return { width: to, height, data: out }
}

/** Rows as columns. */
function turned({ width, height, data }: Plane): Plane {
  const out = new Float32Array(data.length)
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) out[x * height + y] = data[y * width + x]
  return { width: height, height: width, data: out }
}

/** How much the four values around a place weigh that lies `share` of the way from the second to the third. */
function weightsAt(share: number): number[] {
  return [share + 1, share, 1 - share, 2 - share].map((x) =>
    x <= 1 ? (1.25 * x - 2.25) * x * x + 1 : ((-0.75 * x + 3.75) * x - 6) * x + 3,
  )
}
