import { conv2d, expand, mul, reduceMean, silu, slice } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { Shape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import type { ControlNetConfig } from "./config/controlnet.ts"
import type { UNetEncoderConfig } from "./config/unet.ts"
import type { UNetEncoderInputs } from "./unet.ts"
import { unetEncoder } from "./unet.ts"

/** What a ControlNet is asked at one step. */
export interface ControlNetInputs extends UNetEncoderInputs {
  /** The picture to hold to, in pixels for the sample's latents [B or 1, 3, 8 H, 8 W], 0 to 1. */
  readonly picture: Value
  /** How much of each residual [residuals]. */
  readonly scales: Value
}

/**
 * What a U-Net is to add to its skips, outermost first, and to its middle, so that it holds to a picture (Zhang et al.
 * 2023, "Adding Conditional Control to Text-to-Image Diffusion Models"): a copy of its way down that also sees that
 * picture, behind convolutions that began at zero.   -> as many as `residualShapes` says
 * Weight names and structure: diffusers `ControlNetModel`. A projection of the text is applied where there is one, as
 * Kolors does; diffusers' own class would leave it out.
 */
export function controlNet(inputs: ControlNetInputs, w: Weights, config: ControlNetConfig): Value[] {
  const { picture, scales } = inputs
  const seen = config.channelOrder === "rgb" ? picture : slice(picture, 1, 2, -1, -1)
  const hint = embeddedPicture(seen, w.at("controlnet_cond_embedding"), config)
  const { skips, middle } = unetEncoder(inputs, w, config, hint)
  const zero = (x: Value, at: Weights, i: number) => {
    const residual = mul(conv2d(x, at), slice(scales, 0, i, i + 1))
    if (!config.globalPool) return residual
    return expand(reduceMean(residual, [2, 3], { keepDims: true }), x.shape)
  }
  return [
    ...skips.map((skip, i) => zero(skip, w.at("controlnet_down_blocks").at(i), i)),
    zero(middle, w.at("controlnet_mid_block"), skips.length),
  ]
}

/** What a ControlNet reads of what its U-Net is told beside the latents; SDXL's smallest do not read the text. */
export function controlNetReads({ downBlockTypes, middleAttends, additionEmbed }: ControlNetConfig) {
  const attends = middleAttends || downBlockTypes.includes("CrossAttnDownBlock2D")
  return [
    ...(attends || additionEmbed?.type === "text" ? (["encoderHiddenStates"] as const) : []),
    ...(additionEmbed?.type === "text_time" ? (["textEmbeds", "timeIds"] as const) : []),
  ]
}

/** A picture at the size of latents.   [B, 3, 8 H, 8 W] -> [B, C, H, W]   (diffusers `ControlNetConditioningEmbedding`) */
function embeddedPicture(picture: Value, w: Weights, { conditioningWidths }: ControlNetConfig): Value {
  let h = silu(conv2d(picture, w.at("conv_in"), { padding: 1 }))
  for (let i = 0; i < 2 * (conditioningWidths.length - 1); i++)
    h = silu(conv2d(h, w.at("blocks").at(i), { stride: 1 + (i % 2), padding: 1 }))
  return conv2d(h, w.at("conv_out"), { padding: 1 })
}

/** Shapes of a ControlNet's residuals for samples [B, C, H, W]: of the U-Net's skips, outermost first, and its middle. */
export function residualShapes(
  { blockOutChannels, layersPerBlock }: Pick<UNetEncoderConfig, "blockOutChannels" | "layersPerBlock">,
  [batch, , ...places]: Shape,
): Shape[] {
  const last = blockOutChannels.length - 1
  let [h, w] = places
  const shapes = [[batch, blockOutChannels[0], h, w]]
  blockOutChannels.forEach((channels, i) => {
    for (let j = 0; j < layersPerBlock[i]; j++) shapes.push([batch, channels, h, w])
    if (i < last) {
      h = Math.ceil(h / 2)
      w = Math.ceil(w / 2)
    }
    // The convolution that halves the sides, and at the bottom the middle.
    shapes.push([batch, channels, h, w])
  })
  return shapes
}

/**
 * How much of each of `count` residuals: `scale` of all, or where a ControlNet is to guess what its picture shows, a
 * tenth of the first, and by even ratios more of each until all of the middle (diffusers' guess mode).
 */
export function residualScales(count: number, scale: number, guess: boolean): Tensor<"float32"> {
  const share = (i: number) => (guess ? Math.fround(10 ** (i / (count - 1) - 1)) : 1)
  return float32(
    [count],
    Array.from({ length: count }, (_, i) => share(i) * scale),
  )
}
