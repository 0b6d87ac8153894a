import type { TaesdConfig } from "../config/taesd.ts"
import { conv2d, repeat } from "./layers.ts"
import type { Module, ModuleList, ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/** Every tensor of a diffusers `AutoencoderTiny` of this configuration, in the order of its state dict. */
export function taesdParameters(config: TaesdConfig): ParameterSpec[] {
  return parametersOf({ encoder: { layers: encoder(config) }, decoder: { layers: decoder(config) } })
}

function encoder({ inChannels, latentChannels, encoderChannels: width, encoderBlocks }: TaesdConfig) {
  return [
    ...encoderBlocks.flatMap((count, i) => [
      i === 0 ? conv2d(inChannels, width, 3) : conv2d(width, width, 3, { bias: false }),
      ...repeat(count, () => block(width)),
    ]),
    conv2d(width, latentChannels, 3),
  ]
}

/** Layers without weights hold their places in the numbering: a ReLU, and what doubles the size. */
function decoder({ outChannels, latentChannels, decoderChannels: width, decoderBlocks }: TaesdConfig) {
  const last = decoderBlocks.length - 1
  return [
    conv2d(latentChannels, width, 3),
    undefined,
    ...decoderBlocks.flatMap((count, i): ModuleList => {
      const blocks = repeat(count, () => block(width))
      return i < last
        ? [...blocks, undefined, conv2d(width, width, 3, { bias: false })]
        : [...blocks, conv2d(width, outChannels, 3)]
    }),
  ]
}

/** diffusers `AutoencoderTinyBlock`: three convolutions, with a ReLU after each. */
function block(width: number): Module {
  const conv = () => conv2d(width, width, 3)
  return { conv: [conv(), undefined, conv(), undefined, conv()] }
}
