import type { StoredWeight } from "../graph/weights.ts"
import { FormatError, LimnError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { formatShape, sameShape } from "../ground/shape.ts"
import { compVisAutoencoderName, compVisAverageName, compVisUNetName } from "../models/compvis-names.ts"
import { autoencoderConfig } from "../models/config/autoencoder.ts"
import { clipTextConfig } from "../models/config/clip-text.ts"
import { unetConfig } from "../models/config/unet.ts"
import { likenessOf } from "../models/likeness.ts"
import { autoencoderParameters } from "../models/parameters/autoencoder.ts"
import { clipTextParameters } from "../models/parameters/clip-text.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import { unetParameters } from "../models/parameters/unet.ts"
import { stableDiffusion1Configs, stableDiffusion1Scheduler } from "../models/stable-diffusion-1.ts"
import type { Component } from "./component.ts"
import { stableDiffusion } from "./family.ts"
import type { ModelParts } from "./model.ts"
import type { TensorFile } from "./tensor-file.ts"
import { withTensorFile } from "./tensor-file.ts"
import { bundledTokenizer } from "./tokenizer.ts"

/** How a checkpoint in one file is read. */
export interface SingleFileOptions {
  /**
   * Take the average of the U-Net over training (EMA) where the file holds it beside the U-Net as trained. Where it
   * holds only one of the two, that one is taken.
   */
  readonly ema?: boolean
}

/** What errors hold a file's tensors to. */
const asker = {
  name: "a Stable Diffusion 1.x model",
  remedy: "give the folder of the model in diffusers' layout",
}

/** Whether a path is that of a checkpoint in one file, not of a folder. */
export function namesSingleFile(path: string): boolean {
  return /\.(safetensors|ckpt|pt|pth|bin)$/i.test(path)
}

/**
 * Opens a checkpoint in one file, with the names that its first publishers gave to its tensors: safetensors, or PyTorch's
 * .ckpt. It holds weights only; configurations, scheduler and tokenizer are those published for its family.
 * Throws a LimnError where there is no such file or it is of a family that limn does not run, a FormatError where it is
 * damaged.
 */
export async function openSingleFile(path: string, options: SingleFileOptions = {}): Promise<ModelParts> {
  const [components, tokenizer] = await Promise.all([
    withTensorFile(path, (file) => openComponents(file, options)),
    bundledTokenizer(),
  ])
  const { unet, vae, text } = components
  return {
    path,
    family: stableDiffusion,
    texts: [{ files: text, tokenizer }],
    unet,
    vae,
    schedulerConfig: stableDiffusion1Scheduler,
    defaults: stableDiffusion.defaults,
    zeroNegative: stableDiffusion.zeroNegative,
  }
}

function openComponents(
  file: TensorFile,
  options: SingleFileOptions,
): Readonly<Record<"unet" | "vae" | "text", Component>> {
  checkFamily(file)
  const names = partNames(file, options)
  const { unet, vae, text } = stableDiffusion1Configs(
    (part, name) => file.tensors.get(names[part].of(name))?.shape,
  )
  const denoiser = unetConfig(unet, file.path)
  const autoencoder = autoencoderConfig(vae, file.path)
  const encoder = clipTextConfig(text, file.path)
  return {
    unet: componentOf(file, unet, unetParameters(denoiser), {
      ...names.unet,
      of: (name) => names.unet.of(compVisUNetName(name, denoiser)),
    }),
    vae: componentOf(file, vae, autoencoderParameters(autoencoder), {
      ...names.vae,
      of: (name) => names.vae.of(compVisAutoencoderName(name, autoencoder)),
    }),
    text: componentOf(file, text, clipTextParameters(encoder), names.text),
  }
}

/** Throws where a file is not of the family that limn runs, and says what it looks like. */
function checkFamily({ path, tensors }: TensorFile): void {
  const family = likenessOf(tensors)
  if (family?.runs) return
  if (family !== undefined)
    throw new LimnError(
      `${path} looks like ${family.name}, which limn does not load as a model yet; give a Stable Diffusion 1.x checkpoint.`,
    )
  const first = [...tensors].slice(0, 3).map(([name, { shape }]) => `${name} ${formatShape(shape)}`)
  throw new FormatError(
    first.length === 0
      ? `${path} holds no tensors that limn finds; give a Stable Diffusion 1.x checkpoint.`
      : `${path} is of no family that limn knows: its ${tensors.size} tensors begin with ${first.join(", ")}; give a Stable Diffusion 1.x checkpoint.`,
  )
}

/** How one part's tensors are named in a file. */
interface PartNames {
  /** The beginning of every name, and of no name of another part. */
  readonly prefix: string
  /** The whole name from the one inside the part. */
  of(name: string): string
}

function partNames({ tensors }: TensorFile, { ema = false }: SingleFileOptions) {
  const begins = (prefix: string) => [...tensors.keys()].some((name) => name.startsWith(prefix))
  const plain = (prefix: string): PartNames => ({ prefix, of: (name) => `${prefix}${name}` })
  const unet = plain("model.diffusion_model.")
  const averaged: PartNames = {
    prefix: "model_ema.diffusion_model",
    of: (name) => compVisAverageName(unet.of(name)),
  }
  const text = plain("cond_stage_model.transformer.")
  // Some files were saved by a transformers whose text encoder was not yet half of a whole.
  const short = begins(`${text.prefix}embeddings.`)
  return {
    unet: begins(averaged.prefix) && (ema || !begins(unet.prefix)) ? averaged : unet,
    vae: plain("first_stage_model."),
    text: short ? { ...text, of: (name: string) => text.of(name.replace(/^text_model\./, "")) } : text,
  }
}

function componentOf(
  file: TensorFile,
  config: object,
  specs: readonly ParameterSpec[],
  { prefix, of }: PartNames,
): Component {
  const wanted = new Map(specs.map((spec) => [of(spec.name), spec]))
  const tensors = new Map<string, StoredWeight>()
  for (const name of file.tensors.keys()) {
    const spec = wanted.get(name)
    if (spec !== undefined) tensors.set(spec.name, inShape(file.stored(name), spec.shape))
    // Too much for this model: it keeps its name, under which the check of the tensors finds it.
    else if (name.startsWith(prefix)) tensors.set(name, file.stored(name))
  }
  return { path: file.path, config, tensors, asker }
}

/** The layers of the autoencoder's attention are 1x1 convolutions in these files, and linear in diffusers. */
function inShape(weight: StoredWeight, shape: Shape): StoredWeight {
  const { storage } = weight
  if (!sameShape(weight.shape, [...shape, 1, 1])) return weight
  if (storage.kind === "file") return { ...weight, shape }
  return { ...weight, shape, storage: { ...storage, tensor: { ...storage.tensor, shape } } }
}
