import { FormatError, LimnError } from "../ground/errors.ts"
import { formatShape } from "../ground/shape.ts"
import { autoencoderConfig } from "../models/config/autoencoder.ts"
import { clipTextConfig } from "../models/config/clip-text.ts"
import { unetConfig } from "../models/config/unet.ts"
import type { Likeness } from "../models/likeness.ts"
import { likenessOf } from "../models/likeness.ts"
import { autoencoderParameters } from "../models/parameters/autoencoder.ts"
import { clipTextParameters } from "../models/parameters/clip-text.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import { unetParameters } from "../models/parameters/unet.ts"
import type { PublishedModel } from "../models/published-model.ts"
import { fittedModel } from "../models/published-model.ts"
import { publishedStableDiffusion1, stableDiffusion1Scheduler } from "../models/stable-diffusion-1.ts"
import {
  publishedSdxl,
  publishedTurbo,
  sdxlScheduler,
  turboScheduler,
} from "../models/stable-diffusion-xl.ts"
import type { Component } from "./component.ts"
import type { ModelDefaults } from "./defaults.ts"
import type { Family } from "./family.ts"
import { stableDiffusion, stableDiffusionXl } from "./family.ts"
import type { PartPlaces } from "./file-parts.ts"
import {
  autoencoderPlaces,
  clipPlaces,
  openClipPlaces,
  placedShapes,
  placedTensors,
  unetPlaces,
} from "./file-parts.ts"
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

/** Whether a path is that of a checkpoint in one file, not of a folder. */
export function namesSingleFile(path: string): boolean {
  return /\.(safetensors|ckpt|pt|pth|bin)$/i.test(path)
}

/**
 * Opens a checkpoint of Stable Diffusion 1.x or SDXL in one file, with the names that its first publishers gave to its
 * tensors: safetensors, or PyTorch's .ckpt. It holds weights only; configurations, scheduler and tokenizers are those
 * published for its family. SDXL-Turbo has the tensors of SDXL: it is known by "turbo" in the file's name, or in the title
 * or architecture among its metadata, and then has the sampler and the defaults of Turbo.
 * Throws a LimnError where there is no such file or it is of a family that limn does not run, a FormatError where it is
 * damaged.
 */
export async function openSingleFile(path: string, options: SingleFileOptions = {}): Promise<ModelParts> {
  const { unet, vae, ...opened } = await withTensorFile(path, (file) => openParts(file, options))
  const { family, schedulerConfig, defaults } = opened
  const texts = await Promise.all(
    opened.texts.map(async ({ files, pad }) => ({
      kind: "clip" as const,
      files,
      tokenizer: await bundledTokenizer({ pad }),
    })),
  )
  return {
    path,
    family,
    texts,
    unet,
    vae,
    schedulerConfig,
    defaults,
    zeroNegative: family.zeroNegative,
  }
}

/** What a file does not say of the model in it, since all of its kind have it in common. */
interface Kind {
  readonly family: Family
  readonly published: PublishedModel
  readonly schedulerConfig: object
  readonly defaults: ModelDefaults
  /** Each text encoder, and the token that fills its rows where that is not the end. */
  readonly texts: readonly { readonly places: PartPlaces; readonly pad?: string }[]
}

function kindOf(file: TensorFile, runs: NonNullable<Likeness["runs"]>): Kind {
  if (runs === "stable-diffusion-1")
    return {
      family: stableDiffusion,
      published: publishedStableDiffusion1,
      schedulerConfig: stableDiffusion1Scheduler,
      defaults: stableDiffusion.defaults,
      texts: [{ places: clipPlaces(file, "cond_stage_model.transformer.") }],
    }
  const turbo = isTurbo(file)
  return {
    family: stableDiffusionXl,
    published: turbo ? publishedTurbo : publishedSdxl,
    schedulerConfig: turbo ? turboScheduler : sdxlScheduler,
    defaults: turbo ? { steps: 1, guidanceScale: 0 } : stableDiffusionXl.defaults,
    texts: [
      { places: clipPlaces(file, "conditioner.embedders.0.transformer.") },
      { places: openClipPlaces("conditioner.embedders.1.model."), pad: "!" },
    ],
  }
}

function isTurbo({ path, metadata }: TensorFile): boolean {
  const name = path.replace(/^.*[/\\]/, "")
  return [name, metadata["modelspec.title"], metadata["modelspec.architecture"]].some((text) =>
    /turbo/i.test(text ?? ""),
  )
}

function openParts(file: TensorFile, options: SingleFileOptions) {
  const { path } = file
  const { name, runs } = checkedLikeness(file)
  const kind = kindOf(file, runs)
  const { published, texts } = kind
  const places = {
    unet: unetPlaces(file, unetConfig(published.unet, path), options),
    vae: autoencoderPlaces(autoencoderConfig(published.vae, path)),
    texts: texts.map((text) => text.places),
  }
  const { unet, vae, ...fitted } = fittedModel(published, {
    unet: placedShapes(file, places.unet),
    vae: placedShapes(file, places.vae),
    texts: places.texts.map((text) => placedShapes(file, text)),
  })
  const asker = { name, remedy: "give the folder of the model in diffusers' layout" }
  const part = (config: object, specs: readonly ParameterSpec[], where: PartPlaces): Component => {
    return { path, config, tensors: placedTensors(file, specs, where), asker }
  }
  return {
    ...kind,
    unet: part(unet, unetParameters(unetConfig(unet, path)), places.unet),
    vae: part(vae, autoencoderParameters(autoencoderConfig(vae, path)), places.vae),
    texts: texts.map(({ places, pad }, i) => {
      const config = fitted.texts[i]
      return { files: part(config, clipTextParameters(clipTextConfig(config, path)), places), pad }
    }),
  }
}

const give = "give a Stable Diffusion 1.x or SDXL checkpoint"

/** Throws where a file is of no family that limn runs, and says what it looks like. */
function checkedLikeness({ path, tensors }: TensorFile): Likeness & Required<Pick<Likeness, "runs">> {
  const likeness = likenessOf(tensors)
  if (likeness !== undefined) {
    const { runs } = likeness
    if (runs !== undefined) return { ...likeness, runs }
    throw new LimnError(
      `${path} looks like ${likeness.name}, which limn does not load as a model yet; ${give}.`,
    )
  }
  const first = [...tensors].slice(0, 3).map(([name, { shape }]) => `${name} ${formatShape(shape)}`)
  throw new FormatError(
    first.length === 0
      ? `${path} holds no tensors that limn finds; ${give}.`
      : `${path} is of no family that limn knows: its ${tensors.size} tensors begin with ${first.join(", ")}; ${give}.`,
  )
}
