import { absolutePath } from "#platform"
import { overIntegers } from "../graph/passes/integers.ts"
import { fnv1a } from "../ground/hash.ts"
import { withAdditions } from "./additions.ts"
import type { CalibrationOptions, Seen } from "./calibration.ts"
import { calibrate } from "./calibration.ts"
import type { Component } from "./component.ts"
import { fingerprint } from "./fingerprint.ts"
import { int8Weights } from "./int8-weights.ts"
import type { Model, ModelParts } from "./model.ts"
import type { Network } from "./network.ts"
import { namesSingleFile } from "./single-file.ts"

/**
 * The same model with its denoiser and its decoder over integers of eight bits, weights and activations. The first time it
 * draws a few pictures to see how large numbers become, and rounds the weights; both are kept beside the checkpoint.
 * The model given is part of the new one, and closed with it.
 * Throws a LimnError where the files cannot be written, and the signal's reason.
 */
export async function int8Model(
  model: Model,
  { unet, vae }: Pick<ModelParts, "unet" | "vae">,
  options: CalibrationOptions = {},
): Promise<Model> {
  const madeFrom = await fingerprint([...unet.tensors, ...vae.tensors], model.decoderPath ?? "")
  const calibration = await calibrate(model, fileBeside(model, "limn-int8.json"), madeFrom, options)
  const rounded = async (
    network: Network,
    part: string,
    component: Component,
    { ranges, products }: Seen,
  ) => {
    const path = fileBeside(model, `limn-int8-${part}.safetensors`)
    const seen = fnv1a(new TextEncoder().encode(JSON.stringify([...ranges])))
    const weights = await int8Weights(path, component, { ranges, products, madeFrom: `${madeFrom} ${seen}` })
    return network.rewritten((outputs) => overIntegers(outputs, weights(), ranges))
  }
  const denoiser = await rounded(model.unet, "unet", unet, calibration.unet)
  const decoder = calibration.decoder && (await rounded(model.decoder, "decoder", vae, calibration.decoder))
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

/** A file of a checkpoint's own: in its folder, or named after its file. */
function fileBeside({ path }: Model, name: string): string {
  return namesSingleFile(path) ? `${path}.${name}` : absolutePath(path, name)
}
