import { input } from "../../graph/node.ts"
import { add, exp, mul, reduceMean, scale, shift, slice, sqrt, sub } from "../../graph/ops/index.ts"
import { float32 } from "../../ground/tensor.ts"
import { decodeLatents, encodeMoments } from "../../models/autoencoder-kl.ts"
import type { AutoencoderConfig } from "../../models/config/autoencoder.ts"
import { type CaptionedImages, imageBatch } from "../dataset.ts"
import type { Objective } from "../trainer.ts"

/** How the two halves of the loss weigh. */
export interface AutoencodingOptions {
  readonly batchSize: number
  /** Weight of the divergence of the latents from a normal distribution. */
  readonly klWeight: number
}

/**
 * Pictures through few numbers and back (Kingma & Welling 2014): the Charbonnier distance sqrt(d^2 + 1e-6), which
 * keeps edges sharp; the squares, which pull large errors such as a wrong colour in first; and a little divergence
 * from N(0, 1), so that latents keep a bounded spread.
 */
export function autoencoding(
  images: CaptionedImages,
  config: AutoencoderConfig,
  { batchSize, klWeight }: AutoencodingOptions,
): Objective {
  const factor = 2 ** (config.blockOutChannels.length - 1)
  const pictureShape = [batchSize, 3, images.height, images.width]
  const latentShape = [batchSize, config.latentChannels, images.height / factor, images.width / factor]
  return {
    loss(weights) {
      const x = input("pixels", "float32", pictureShape)
      const noise = input("noise", "float32", latentShape)
      const moments = encodeMoments(x, weights, config)
      const mean = slice(moments, 1, 0, config.latentChannels)
      const logVariance = slice(moments, 1, config.latentChannels, 2 * config.latentChannels)
      const z = add(mean, mul(exp(scale(logVariance, 0.5)), noise))
      const difference = sub(decodeLatents(z, weights, config), x)
      const squares = mul(difference, difference)
      const distance = add(reduceMean(sqrt(shift(squares, 1e-6))), reduceMean(squares))
      // 0.5 (mean^2 + variance - 1 - log variance), per latent
      const divergence = reduceMean(shift(sub(add(mul(mean, mean), exp(logVariance)), logVariance), -1))
      return add(distance, scale(divergence, 0.5 * klWeight))
    },
    batch(random) {
      const chosen = random.randint(0, images.count, [batchSize]).data
      return {
        pixels: float32(pictureShape, imageBatch(images, Array.from(chosen, Number))),
        noise: random.randn(latentShape),
      }
    },
  }
}
