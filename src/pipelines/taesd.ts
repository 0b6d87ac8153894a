import { absolutePath, exists } from "#platform"
import { div, scalar } from "../graph/ops/index.ts"
import type { Weights } from "../graph/weights.ts"
import { UsageError } from "../ground/errors.ts"
import type { TaesdConfig } from "../models/config/taesd.ts"
import { taesdConfig } from "../models/config/taesd.ts"
import { renameTaesdKey } from "../models/names.ts"
import { taesdParameters } from "../models/parameters/taesd.ts"
import { decodeTaesd } from "../models/taesd.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, openComponent, openTensors } from "./component.ts"
import type { Network, NetworkOptions } from "./network.ts"
import { network } from "./network.ts"
import { namesSingleFile } from "./single-file.ts"

type Half = "encoder" | "decoder"

/** One half of a tiny autoencoder, of which no weight is read. */
export interface Taesd {
  readonly config: TaesdConfig
  /** Weights for one graph, under diffusers' names. */
  readonly weights: () => Weights
}

/**
 * Opens one half of TAESD: the folder or the file of a diffusers `AutoencoderTiny`, or the author's file of that half.
 * Throws a UsageError where there is nothing at the path, a FormatError where it holds something else.
 */
export async function openTaesd(path: string, half: Half): Promise<Taesd> {
  const place = absolutePath(path)
  if (!(await exists(place)))
    throw new UsageError(
      `There is nothing at ${path}; give TAESD's ${half}, as a file or a diffusers folder.`,
    )
  const single = namesSingleFile(place)
  const { tensors, ...whole } = single ? await openFile(place, half) : await openComponent(place)
  const config = taesdConfig(whole.config, single ? place : absolutePath(place, "config.json"))
  const inHalf = (name: string) => name.startsWith(`${half}.`)
  const own = new Map([...tensors].filter(([name]) => inHalf(name)))
  const specs = taesdParameters(config).filter(({ name }) => inHalf(name))
  return { config, weights: componentWeights({ ...whole, tensors: own }, specs) }
}

/** A file says nothing of its configuration, but kinds of latents differ in width only. */
async function openFile(path: string, half: Half): Promise<Component> {
  const tensors = await openTensors([{ path }], (name) => renameTaesdKey(name, half))
  const config = { latent_channels: tensors.get("decoder.layers.0.weight")?.shape[1] }
  const asker = { name: `TAESD's ${half}`, remedy: `give a file of that, such as taesd_${half}.safetensors` }
  return { path, config, tensors, asker }
}

/**
 * The network that decodes with TAESD in place of a model's own decoder, for latents of `channels` that are
 * `latentPixels` wide in the picture.   `latents` [1, L, h, w], as the denoiser gives them   ->   `image` [1, 3, H, W]
 * Throws as `openTaesd` does, and a UsageError where it is made for other latents.
 */
export async function taesdDecoder(
  path: string,
  { channels, latentPixels }: { readonly channels: number; readonly latentPixels: number },
  running: NetworkOptions,
): Promise<Network> {
  const { config, weights } = await openTaesd(path, "decoder")
  const pixels = 2 ** (config.decoderBlocks.length - 1)
  if (config.latentChannels !== channels || pixels !== latentPixels || config.outChannels !== 3)
    throw new UsageError(
      `${path} decodes latents of ${config.latentChannels} channels, ${pixels} pixels wide, into ${config.outChannels} colours, and those of this model have ${channels} and are ${latentPixels} wide; give the decoder that is made for them.`,
    )
  return network(({ latents }) => {
    const w = weights()
    const image = decodeTaesd(div(latents, scalar(config.scalingFactor, latents)), w, config)
    checkAllRead(w)
    return { image }
  }, running)
}
