import { solve } from "../src/ground/linear-system.ts"
import type { RandomSource } from "../src/ground/random/source.ts"
import type { Tensor } from "../src/ground/tensor.ts"
import { float32 } from "../src/ground/tensor.ts"
import { decodeLatents } from "../src/pipelines/autoencoder.ts"
import type { Model } from "../src/pipelines/model.ts"

/** Sides of the grids, in places of the latents, whose noise is mixed, and the share of each. */
const scales = [
  { side: 1, share: 1 },
  { side: 2, share: 0.6 },
  { side: 4, share: 0.5 },
  { side: 16, share: 0.2 },
]
const side = 16

/** A row of red, green and blue in [-1, 1] for each channel, then one that is added; and what the map misses. */
export interface PreviewFit {
  readonly factors: [red: number, green: number, blue: number][]
  /** Root mean square of the misses, over the deviation of what the decoder gives. */
  readonly error: number
}

/**
 * The linear map from latents to colours that comes nearest to a model's decoder: on smooth random latents, by least
 * squares. The same as reference/preview.py does for TAESD.
 */
export async function fitPreview(
  model: Pick<Model, "decoder" | "latentPixels">,
  channels: number,
  random: RandomSource,
  pictures = 64,
): Promise<PreviewFit> {
  const latents = smoothLatents(random, pictures, channels)
  const colours = (await decodeLatents(model, latents)).flatMap(({ width, data }) =>
    averages(data, width, model.latentPixels),
  )
  const places = side * side
  const inputs = colours.map((_, i) => [
    ...Array.from({ length: channels }, (_, c) => {
      return latents.data[(Math.floor(i / places) * channels + c) * places + (i % places)]
    }),
    1,
  ])
  const solutions = [0, 1, 2].map((colour) =>
    leastSquares(
      inputs,
      colours.map((one) => one[colour]),
    ),
  )
  let [misses, spread] = [0, 0]
  for (let colour = 0; colour < 3; colour++) {
    const mean = colours.reduce((sum, one) => sum + one[colour], 0) / colours.length
    for (const [i, one] of colours.entries()) {
      misses += (one[colour] - dot(inputs[i], solutions[colour])) ** 2
      spread += (one[colour] - mean) ** 2
    }
  }
  const rounded = (value: number) => Number(value.toFixed(4))
  const [red, green, blue] = solutions
  return {
    factors: red.map((_, row) => [rounded(red[row]), rounded(green[row]), rounded(blue[row])]),
    error: Math.sqrt(misses / spread),
  }
}

/** The x that brings inputs x nearest to the outputs: inputs^T inputs x = inputs^T outputs. */
export function leastSquares(inputs: readonly (readonly number[])[], outputs: readonly number[]): number[] {
  const n = inputs[0].length
  const moments = Array.from({ length: n }, () => new Array<number>(n).fill(0))
  const values = new Array<number>(n).fill(0)
  for (const [row, input] of inputs.entries())
    for (let i = 0; i < n; i++) {
      values[i] += input[i] * outputs[row]
      for (let j = 0; j < n; j++) moments[i][j] += input[i] * input[j]
    }
  return solve(moments, values)
}

/** Of unit deviation: latents of pictures change slowly, with details on top [count, channels, side, side]. */
function smoothLatents(random: RandomSource, count: number, channels: number): Tensor<"float32"> {
  const size = Math.sqrt(scales.reduce((sum, { share }) => sum + share ** 2, 0))
  const mixed = new Float32Array(count * channels * side * side)
  for (const { side: grid, share } of scales) {
    const grown = enlarged(random.randn([count * channels, grid, grid]), grid)
    const deviation = Math.sqrt(grown.reduce((sum, v) => sum + v * v, 0) / grown.length)
    for (let i = 0; i < mixed.length; i++) mixed[i] += (share * grown[i]) / (deviation * size)
  }
  return float32([count, channels, side, side], mixed)
}

/** Grids of numbers, each enlarged to the side of the latents, linearly between the middles of its cells. */
function enlarged({ data }: Tensor<"float32">, grid: number): Float32Array {
  const at = (place: number) => {
    const exact = Math.min(grid - 1, Math.max(0, ((place + 0.5) * grid) / side - 0.5))
    const low = Math.floor(exact)
    return { low, high: Math.min(grid - 1, low + 1), share: exact - low }
  }
  return new Float32Array((data.length / grid ** 2) * side ** 2).map((_, i) => {
    const [x, y] = [at(i % side), at(Math.floor(i / side) % side)]
    const plane = Math.floor(i / side ** 2) * grid ** 2
    const across = (row: number) =>
      data[plane + row * grid + x.low] * (1 - x.share) + data[plane + row * grid + x.high] * x.share
    return across(y.low) * (1 - y.share) + across(y.high) * y.share
  })
}

/** Each square of a picture's pixels as one colour in [-1, 1], row by row. */
function averages(data: Uint8Array, width: number, square: number): number[][] {
  const columns = width / square
  return Array.from({ length: data.length / (3 * square * square) }, (_, i) => {
    const [left, top] = [(i % columns) * square, Math.floor(i / columns) * square]
    return [0, 1, 2].map((colour) => {
      let sum = 0
      for (let y = top; y < top + square; y++)
        for (let x = left; x < left + square; x++) sum += data[3 * (y * width + x) + colour]
      return (2 * sum) / (255 * square * square) - 1
    })
  })
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, k) => sum + value * b[k], 0)
}
