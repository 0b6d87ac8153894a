import type { ControlNetConfig } from "../config/controlnet.ts"
import { residualShapes } from "../controlnet.ts"
import { constant, conv2d } from "./layers.ts"
import type { Module, ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"
import { unetEncoder } from "./unet.ts"

/** Every tensor of a diffusers `ControlNetModel` of this configuration, in the order of its state dict. */
export function controlNetParameters(config: ControlNetConfig): ParameterSpec[] {
  const { down_blocks, mid_block, ...embeddings } = unetEncoder(config, config)
  const widths = residualShapes(config, [1, config.inChannels, 1, 1]).map(([, channels]) => channels)
  const zeroConvolutions = widths.map((channels) => zeroConv2d(channels, channels, 1))
  return parametersOf({
    ...embeddings,
    controlnet_cond_embedding: pictureEmbedding(config.conditioningWidths, config.blockOutChannels[0]),
    down_blocks,
    controlnet_down_blocks: zeroConvolutions.slice(0, -1),
    controlnet_mid_block: zeroConvolutions.at(-1),
    mid_block,
  })
}

/** diffusers `ControlNetConditioningEmbedding`. */
function pictureEmbedding(widths: readonly number[], outChannels: number): Module {
  return {
    conv_in: conv2d(3, widths[0], 3),
    blocks: widths
      .slice(1)
      .flatMap((width, i) => [conv2d(widths[i], widths[i], 3), conv2d(widths[i], width, 3)]),
    conv_out: zeroConv2d(widths.at(-1)!, outChannels, 3),
  }
}

/** A convolution that begins at nothing, so that a ControlNet changes nothing before it is trained. */
function zeroConv2d(inChannels: number, outChannels: number, kernel: number): Module {
  return {
    weight: constant([outChannels, inChannels, kernel, kernel], 0),
    bias: constant([outChannels], 0),
  }
}
