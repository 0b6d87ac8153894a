import { absolutePath } from "#platform"
import { type StoredWeight, storedWeights } from "../graph/weights.ts"
import { LimnError } from "../ground/errors.ts"
import type { CpuGenerator } from "../ground/random/cpu-generator.ts"
import type { Tensor } from "../ground/tensor.ts"
import { toHalf } from "../ground/tensor.ts"
import { autoencoderConfig } from "../models/config/autoencoder.ts"
import { clipTextConfig } from "../models/config/clip-text.ts"
import { clipVisionConfig } from "../models/config/clip-vision.ts"
import { controlNetConfig, publishedConditioningWidths } from "../models/config/controlnet.ts"
import { unetConfig } from "../models/config/unet.ts"
import { autoencoderParameters } from "../models/parameters/autoencoder.ts"
import { checkParameters } from "../models/parameters/check.ts"
import { clipTextParameters } from "../models/parameters/clip-text.ts"
import { clipVisionParameters } from "../models/parameters/clip-vision.ts"
import { controlNetParameters } from "../models/parameters/controlnet.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import { unetParameters } from "../models/parameters/unet.ts"
import { componentWeights, openComponent } from "../pipelines/component.ts"
import { readJson } from "../pipelines/files.ts"
import { openTokenizer } from "../pipelines/tokenizer.ts"
import { alphasCumprod } from "../schedulers/noise-schedule.ts"
import type { Parameters } from "./adamw.ts"
import { type CaptionIds, tokenizeCaptions } from "./caption-ids.ts"
import { openCaptionStates } from "./caption-states.ts"
import type { TrainingConfig } from "./config.ts"
import type { CaptionedImages } from "./dataset.ts"
import { scaledLatents } from "./kept-latents.ts"
import { deviation, encodeImages } from "./latents.ts"
import { autoencoding } from "./objectives/autoencoding.ts"
import { controlling } from "./objectives/controlling.ts"
import type { DenoisingData } from "./objectives/denoising.ts"
import { denoising } from "./objectives/denoising.ts"
import { matching } from "./objectives/matching.ts"
import { saveComponent } from "./run-files.ts"
import { readParameters, startParameters } from "./start.ts"
import type { Objective } from "./trainer.ts"

/** A thing to learn, tied to its files: where it starts, what it minimises and how it is kept. */
export interface Stage {
  readonly objective: Objective
  readonly parameters: readonly ParameterSpec[]
  /** Parameters to begin at: the model's weights, or fresh ones. */
  initial(random: CpuGenerator): Promise<Parameters>
  /** Writes what was learnt as parts of a checkpoint, in the run's folder. */
  save(average: Parameters): Promise<void>
  /** Gives back what the objective holds open. */
  close?(): Promise<void>
}

/** Says how far the preparation of a run is: `done` of `total` of what `task` names. */
export type PreparationProgress = (task: string, done: number, total: number) => void

/** The stage that a run's configuration asks for. `folder` resolves its paths. */
export function openStage(
  config: TrainingConfig,
  images: CaptionedImages,
  onProgress: PreparationProgress,
): Promise<Stage> {
  if (config.learn === "autoencoder") return autoencoderStage(config, images)
  if (config.learn === "towers") return towersStage(config, images)
  if (config.learn === "controlnet") return controlNetStage(config, images, onProgress)
  return denoiserStage(config, images, onProgress)
}

/** How many pictures the spread of an autoencoder's latents is measured on. */
const measured = 1000

async function autoencoderStage(
  run: TrainingConfig & { learn: "autoencoder" },
  images: CaptionedImages,
): Promise<Stage> {
  const { json, config } = await configOf(absolutePath(run.model, "vae"), autoencoderConfig)
  const parameters = autoencoderParameters(config)
  return {
    objective: autoencoding(images, config, run),
    parameters,
    initial: (random) => startParameters(run.start, absolutePath(run.model, "vae"), parameters, random),
    async save(average) {
      // The diffusion model sees latents of deviation 1.
      const latents = await encodeImages(images, inMemory(average), config, {
        count: Math.min(measured, images.count),
      })
      const scaled = { ...json, scaling_factor: Number((1 / deviation(latents.data)).toPrecision(6)) }
      await saveComponent(
        absolutePath(run.output, "vae"),
        "diffusion_pytorch_model.safetensors",
        scaled,
        halved(average),
      )
    },
  }
}

async function towersStage(
  run: TrainingConfig & { learn: "towers" },
  images: CaptionedImages,
): Promise<Stage> {
  const text = await configOf(absolutePath(run.model, "text_encoder"), clipTextConfig)
  const scorer = await configOf(absolutePath(run.model, "scorer"), clipVisionConfig)
  const projected = { ...text.config, projectionDim: scorer.config.projectionDim }
  const textParameters = clipTextParameters(projected)
  const scorerParameters = [...clipVisionParameters(scorer.config), logitScale]
  const parameters = [...textParameters, ...scorerParameters]
  const captions = tokenizeCaptions(images, await openTokenizer(absolutePath(run.model, "tokenizer")))
  return {
    objective: matching(images, captions, { text: projected, vision: scorer.config }, run),
    parameters,
    async initial(random) {
      const isEncoder = ({ name }: ParameterSpec) => name.startsWith("text_model.")
      const encoder = parameters.filter(isEncoder)
      const rest = parameters.filter((spec) => !isEncoder(spec))
      return new Map([
        ...(await startParameters(run.start, absolutePath(run.model, "text_encoder"), encoder, random)),
        ...(await startParameters(run.start, absolutePath(run.model, "scorer"), rest, random)),
      ])
    },
    async save(average) {
      const isEncoder = (name: string) => name.startsWith("text_model.")
      const encoder = [...halved(average)].filter(([name]) => isEncoder(name))
      // The scorer's text tower is the text encoder itself, so it holds only what that lacks.
      const rest = [...halved(average)].filter(([name]) => !isEncoder(name))
      await saveComponent(
        absolutePath(run.output, "text_encoder"),
        "model.safetensors",
        text.json,
        new Map(encoder),
      )
      await saveComponent(absolutePath(run.output, "scorer"), "model.safetensors", scorer.json, new Map(rest))
    },
  }
}

/** The logarithm of the inverse temperature of CLIP's scores, begun at 1 / 0.07 as Radford et al. did. */
const logitScale: ParameterSpec = {
  name: "logit_scale",
  shape: [],
  init: { kind: "constant", value: Math.log(1 / 0.07) },
}

async function denoiserStage(
  run: TrainingConfig & { learn: "denoiser" },
  images: CaptionedImages,
  onProgress: PreparationProgress,
): Promise<Stage> {
  const { json, config } = await configOf(absolutePath(run.model, "unet"), unetConfig)
  const parameters = unetParameters(config)
  const data = await denoisingData(run, images, onProgress)
  return {
    objective: denoising(data, config, run),
    parameters,
    initial: (random) => startParameters(run.start, absolutePath(run.model, "unet"), parameters, random),
    save: (average) =>
      saveComponent(
        absolutePath(run.output, "unet"),
        "diffusion_pytorch_model.safetensors",
        json,
        halved(average),
      ),
    close: data.states.close,
  }
}

async function controlNetStage(
  run: TrainingConfig & { learn: "controlnet" },
  images: CaptionedImages,
  onProgress: PreparationProgress,
): Promise<Stage> {
  const [unetFolder, folder] = ["unet", "controlnet"].map((part) => absolutePath(run.model, part))
  const component = await openComponent(unetFolder)
  const unet = await configOf(unetFolder, unetConfig)
  const unetSpecs = unetParameters(unet.config)
  const data = await denoisingData(run, images, onProgress)
  const latentPixels = images.height / data.latents.shape[2]
  const json =
    run.start === "weights"
      ? await jsonOf(absolutePath(folder, "config.json"))
      : copied(unet.json, latentPixels)
  const config = controlNetConfig(json, absolutePath(folder, "config.json"))
  const parameters = controlNetParameters(config)
  checkParameters(unetSpecs, component.tensors, component.path)
  return {
    objective: controlling(
      images,
      data,
      { frozen: component.tensors, unet: unet.config, controlNet: config },
      run,
    ),
    parameters,
    async initial(random) {
      const own = await startParameters(run.start, folder, parameters, random)
      if (run.start === "weights") return own
      const theirs = await readParameters(component, unetSpecs)
      return new Map([...own].map(([name, tensor]) => [name, theirs.get(name) ?? tensor]))
    },
    save: (average) =>
      saveComponent(
        absolutePath(run.output, "controlnet"),
        "diffusion_pytorch_model.safetensors",
        json,
        halved(average),
      ),
    close: data.states.close,
  }
}

/** config.json of a ControlNet for a U-Net. */
function copied(unet: Readonly<Record<string, unknown>>, latentPixels: number) {
  const { _class_name, sample_size, out_channels, up_block_types, center_input_sample, ...shared } = unet
  return {
    _class_name: "ControlNetModel",
    ...shared,
    conditioning_embedding_out_channels: publishedConditioningWidths(latentPixels),
  }
}

async function denoisingData(
  run: TrainingConfig,
  images: CaptionedImages,
  onProgress: PreparationProgress,
): Promise<DenoisingData> {
  const captions = tokenizeCaptions(images, await openTokenizer(absolutePath(run.model, "tokenizer")))
  const schedule = await jsonOf(absolutePath(run.model, "scheduler", "scheduler_config.json"))
  const latents = await scaledLatents(absolutePath(run.model, "vae"), run.output, images, (done) =>
    onProgress("encoding pictures", done, images.count),
  )
  const states = await frozenTextEncoder(run, captions)
  return {
    latents,
    captions,
    states,
    alphasCumprod: alphasCumprod(schedule),
    prediction: schedule.prediction_type === "v_prediction" ? "v_prediction" : "epsilon",
  }
}

async function frozenTextEncoder(run: TrainingConfig, captions: CaptionIds) {
  const encoder = await openComponent(absolutePath(run.model, "text_encoder"))
  const config = clipTextConfig(encoder.config, encoder.path)
  if (captions.length > config.maxPositionEmbeddings)
    throw new LimnError(
      `The tokenizer of ${run.model} gives ${captions.length} ids and its text encoder reads ${config.maxPositionEmbeddings}; use files that belong together.`,
    )
  const weights = componentWeights(encoder, clipTextParameters(config))()
  return openCaptionStates(captions, weights, config, run)
}

async function configOf<C>(folder: string, parse: (json: unknown, source: string) => C) {
  const path = absolutePath(folder, "config.json")
  const json = await jsonOf(path)
  return { json, config: parse(json, path) }
}

async function jsonOf(path: string): Promise<Readonly<Record<string, unknown>>> {
  const json = await readJson(path)
  if (typeof json !== "object" || json === null) throw new LimnError(`${path} is not a JSON object; mend it.`)
  return json as Readonly<Record<string, unknown>>
}

/** Weights over parameters that are in memory, for graphs that only run them. */
function inMemory(parameters: Parameters) {
  const stored = [...parameters].map(([name, tensor]): [string, StoredWeight] => [
    name,
    { dtype: tensor.dtype, shape: tensor.shape, storage: { kind: "memory", tensor } },
  ])
  return storedWeights(new Map(stored), "the parameters")
}

function halved(parameters: Parameters): Map<string, Tensor> {
  return new Map([...parameters].map(([name, tensor]) => [name, toHalf(tensor, "float16")]))
}
