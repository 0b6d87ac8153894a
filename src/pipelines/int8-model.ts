import { absolutePath, cacheFolder, isWritableFolder, makeFolder } from "#platform"
import { overIntegers } from "../graph/passes/integers.ts"
import { fnv1a } from "../ground/hash.ts"
import { withAdditions } from "./additions.ts"
import type { CalibrationOptions, Seen } from "./calibration.ts"
import { calibrate } from "./calibration.ts"
import type { Component } from "./component.ts"
import { lastPart } from "./files.ts"
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
  const fileOf = await placeFor(model, madeFrom)
  const calibration = await calibrate(model, fileOf("limn-int8.json"), madeFrom, options)
  const rounded = async (
    network: Network,
    part: string,
    component: Component,
    { ranges, products }: Seen,
  ) => {
    const path = fileOf(`limn-int8-${part}.safetensors`)
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

/** Where files of a checkpoint's own lie: beside it, or where that cannot be written to in limn's cache. */
async function placeFor({ path }: Model, madeFrom: string): Promise<(name: string) => string> {
  const single = namesSingleFile(path)
  if (await isWritableFolder(single ? absolutePath(path, "..") : path))
    return (name) => (single ? `${path}.${name}` : absolutePath(path, name))
  const cache = cacheFolder()
  await makeFolder(cache)
  return (name) => absolutePath(cache, `${lastPart(path)}-${madeFrom}-${name}`)
}
