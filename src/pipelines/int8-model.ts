import { absolutePath } from "#platform"
import { input } from "../graph/node.ts"
import { overIntegers, roundableWeights } from "../graph/passes/integers.ts"
import type { Value } from "../graph/value.ts"
import { UsageError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import { sumsIntegers } from "../runtime/kernel-checks.ts"
import { withAdditions } from "./additions.ts"
import type { Component } from "./component.ts"
import { int8Weights } from "./int8-weights.ts"
import type { Model, ModelParts } from "./model.ts"
import type { Describe } from "./network.ts"
import type { RoundingOptions } from "./rounded-file.ts"
import { namesSingleFile } from "./single-file.ts"

/**
 * The same model with its denoiser and its decoder over integers of eight bits, weights and activations. The first time the
 * weights are rounded, and kept beside the checkpoint. The model given is part of the new one, and closed with it.
 * Throws as `roundedFile` does, and a UsageError where the processor cannot.
 */
export async function int8Model(
  model: Model,
  { unet, vae }: Pick<ModelParts, "unet" | "vae">,
  describes: { readonly denoiser: Describe; readonly decoder: Describe },
  { signal, onProgress }: RoundingOptions = {},
): Promise<Model> {
  // Of sums that are cut pictures come out broken.
  if (!(await sumsIntegers()))
    throw new UsageError(
      "This processor multiplies integers of eight bits inexactly (it has no VNNI); use the precision fp32.",
    )
  const { path, unetConfig, vaeConfig } = model
  const rounded = async (part: "unet" | "decoder", component: Component, outputs: ReturnType<Describe>) => {
    const names = roundableWeights(outputs)
    const file = `limn-int8-${part}.safetensors`
    const place = {
      beside: namesSingleFile(path) ? `${path}.${file}` : absolutePath(path, file),
      checkpoint: path,
      kind: `int8-${part}`,
      part: part === "unet" ? ("denoiser" as const) : part,
    }
    const weights = await int8Weights(place, component, names, { signal, onProgress })
    return model[part].rewritten((outputs) => overIntegers(outputs, weights()))
  }
  const denoiser = await rounded("unet", unet, describes.denoiser(denoiserInputs(unetConfig)))
  const latents = input("latents", "float32", [1, vaeConfig.latentChannels, 8, 8])
  // Another decoder that stands for the model's own is small and fast as it is.
  const decoder =
    model.decoderPath === undefined
      ? await rounded("decoder", vae, describes.decoder({ latents }))
      : undefined
  const int8: Model = {
    ...model,
    precision: "int8",
    unet: denoiser,
    decoder: decoder ?? model.decoder,
    with: (...additions) => withAdditions(int8, additions),
    async close() {
      await Promise.all([denoiser.close(), decoder?.close(), model.close()])
    },
  }
  return int8
}

/** What a denoiser is fed, at a small size: which layers it has depends on no size. */
function denoiserInputs(config: UNetConfig): Record<string, Value> {
  const { inChannels, blockOutChannels, encoderHidDim, crossAttentionDim, additionEmbed } = config
  const side = 2 ** (blockOutChannels.length - 1)
  const shapes: Record<string, Shape> = {
    sample: [1, inChannels, side, side],
    timestep: [1],
    encoderHiddenStates: [1, 77, encoderHidDim ?? crossAttentionDim[0]],
  }
  if (additionEmbed?.type === "text_time") {
    shapes.textEmbeds = [1, additionEmbed.inputDim - 6 * additionEmbed.timeDim]
    shapes.timeIds = [1, 6]
  }
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, input(name, "float32", shape)]),
  )
}
