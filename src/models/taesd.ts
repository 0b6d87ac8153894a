import { add, conv2d, relu, scale, shift, tanh, upsampleNearest } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { TaesdConfig } from "./config/taesd.ts"

/** Beyond about this many deviations latents are pressed together before they are decoded. */
const LATENT_MAGNITUDE = 3

/**
 * Pictures into their latents by the tiny autoencoder TAESD (Ollin Boer Bohan 2023), with no distribution around them.
 *   x [B, 3, H, W] in [-1, 1]   ->   [B, L, H / f, W / f], f = 2^(blocks - 1), rounded up
 * Weight names and structure: diffusers `AutoencoderTiny.encode`.
 */
export function encodeTaesd(x: Value, weights: Weights, { encoderBlocks }: TaesdConfig): Value {
  const layers = layersOf(weights.at("encoder"))
  let h = scale(shift(x, 1), 0.5)
  for (const [i, count] of encoderBlocks.entries()) {
    h = conv2d(h, layers.next(), { padding: 1, stride: i === 0 ? 1 : 2 })
    for (let j = 0; j < count; j++) h = block(h, layers.next())
  }
  return conv2d(h, layers.next(), { padding: 1 })
}

/**
 * Latents into pictures.   z [B, L, h, w], divided by the scaling factor   ->   [B, 3, f h, f w], about [-1, 1]
 * Weight names and structure: diffusers `AutoencoderTiny.decode`.
 */
export function decodeTaesd(z: Value, weights: Weights, { decoderBlocks }: TaesdConfig): Value {
  const layers = layersOf(weights.at("decoder"))
  const bounded = scale(tanh(scale(z, 1 / LATENT_MAGNITUDE)), LATENT_MAGNITUDE)
  let h = relu(conv2d(bounded, layers.next(), { padding: 1 }))
  layers.skip()
  for (const [i, count] of decoderBlocks.entries()) {
    for (let j = 0; j < count; j++) h = block(h, layers.next())
    if (i < decoderBlocks.length - 1) {
      h = upsampleNearest(h, h.shape[2] * 2, h.shape[3] * 2)
      layers.skip()
    }
    h = conv2d(h, layers.next(), { padding: 1 })
  }
  return shift(scale(h, 2), -1)
}

/** Layers in one row, as torch's `Sequential` numbers them; those without weights are skipped. */
function layersOf(w: Weights) {
  let n = 0
  return { next: () => w.at("layers").at(n++), skip: () => n++ }
}

/** Weight names: diffusers `AutoencoderTinyBlock`. */
function block(x: Value, w: Weights): Value {
  const conv = (h: Value, n: number) => conv2d(h, w.at("conv").at(n), { padding: 1 })
  return relu(add(conv(relu(conv(relu(conv(x, 0)), 2)), 4), x))
}
