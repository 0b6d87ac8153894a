import { build, toOnnx } from "../graph/build.ts"
import { input } from "../graph/node.ts"
import { slice } from "../graph/ops/index.ts"
import type { Weights } from "../graph/weights.ts"
import { float32, type Tensor } from "../ground/tensor.ts"
import { encodeMoments } from "../models/autoencoder-kl.ts"
import type { AutoencoderConfig } from "../models/config/autoencoder.ts"
import { openSession } from "../runtime/session.ts"
import { type CaptionedImages, imageBatch } from "./dataset.ts"

const batchSize = 50

/**
 * The latents of the first `count` pictures, unscaled: the means of their distributions [count, L, h, w].
 * `onProgress` hears how many are done.
 */
export async function encodeImages(
  images: CaptionedImages,
  weights: Weights,
  config: AutoencoderConfig,
  { count = images.count, onProgress }: { count?: number; onProgress?: (done: number) => void } = {},
): Promise<Tensor<"float32">> {
  const x = input("pixels", "float32", [batchSize, 3, images.height, images.width])
  const mean = slice(encodeMoments(x, weights, config), 1, 0, config.latentChannels)
  const session = await openSession(toOnnx(build({ mean })), { device: "cpu" })
  const [, ...each] = mean.shape
  const size = each.reduce((n, d) => n * d, 1)
  const all = new Float32Array(count * size)
  try {
    for (let start = 0; start < count; start += batchSize) {
      // The last batch is filled up with its last picture, since the graph's sizes are fixed.
      const indices = Array.from({ length: batchSize }, (_, k) => Math.min(start + k, count - 1))
      const results = await session.run({ pixels: float32(x.shape, imageBatch(images, indices)) })
      const kept = Math.min(batchSize, count - start)
      all.set((results.mean.data as Float32Array).subarray(0, kept * size), start * size)
      onProgress?.(start + kept)
    }
  } finally {
    await session.close()
  }
  return float32([count, ...each], all)
}

/** Root mean square distance of all numbers from their mean. */
export function deviation(values: Float32Array): number {
  let sum = 0
  for (const value of values) sum += value
  const mean = sum / values.length
  let squares = 0
  for (const value of values) squares += (value - mean) ** 2
  return Math.sqrt(squares / values.length)
}
