import { absolutePath, exists } from "#platform"
import { div, scalar } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import { FormatError, LimnError, UsageError } from "../ground/errors.ts"
import { decodeLatents } from "../models/autoencoder-kl.ts"
import { clipText, normalisedState } from "../models/clip-text.ts"
import { autoencoderConfig } from "../models/config/autoencoder.ts"
import type { ClipTextConfig } from "../models/config/clip-text.ts"
import { clipTextConfig } from "../models/config/clip-text.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import { unetConfig } from "../models/config/unet.ts"
import { renameAutoencoderKey } from "../models/names.ts"
import { autoencoderParameters } from "../models/parameters/autoencoder.ts"
import { clipTextParameters } from "../models/parameters/clip-text.ts"
import { unetParameters } from "../models/parameters/unet.ts"
import { unet } from "../models/unet.ts"
import { chooseDevice } from "../runtime/device.ts"
import type { Device, SessionOptions } from "../runtime/session.ts"
import type { Tokenizer } from "../tokenizers/clip-bpe.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, openComponent } from "./component.ts"
import { readDefaults } from "./defaults.ts"
import { readJson } from "./files.ts"
import type { Model, ModelParts, Precision } from "./model.ts"
import { network } from "./network.ts"
import type { SingleFileOptions } from "./single-file.ts"
import { namesSingleFile, openSingleFile } from "./single-file.ts"
import { openTokenizer } from "./tokenizer.ts"

/** How a model is loaded. */
export interface LoadOptions extends Pick<SessionOptions, "threads" | "lowMemory">, SingleFileOptions {
  /** Where to run; "auto" (the default) is the fastest device that this machine has. */
  readonly device?: Device | "auto"
  /** "auto" (the default) is fp16 on CUDA, where it is fastest, and fp32 elsewhere: a CPU only imitates fp16. */
  readonly precision?: Precision | "auto"
}

/**
 * Opens a checkpoint of the Stable Diffusion 1.x family: a diffusers folder with model_index.json, or one file (.ckpt,
 * .safetensors) with the names of the original code. Headers and configurations are read and checked; weights stay in
 * their files until a run needs them.
 * Throws a UsageError where the path is neither, a LimnError where a file is missing, of another family, or the device
 * does not work, a FormatError where a file is not what it claims to be.
 */
export async function load(path: string, options: LoadOptions = {}): Promise<Model> {
  const start = performance.now()
  const source = namesSingleFile(path) ? await modelFile(path) : await modelFolder(path)
  const device = await chooseDevice(options.device ?? "auto")
  const precision = choosePrecision(options.precision ?? "auto", device)
  const parts = await (namesSingleFile(path)
    ? openSingleFile(source, options)
    : openFolder(source, precision === "fp16" ? "fp16" : undefined))
  const { text: textFiles, unet: unetFiles, vae: vaeFiles, schedulerConfig, tokenizer, defaults } = parts
  const text = clipTextConfig(textFiles.config, configPath(textFiles))
  const denoiser = unetConfig(unetFiles.config, configPath(unetFiles))
  const vae = autoencoderConfig(vaeFiles.config, configPath(vaeFiles))
  checkFit(source, text, denoiser, vae.latentChannels, tokenizer)

  const textWeights = componentWeights(textFiles, clipTextParameters(text))
  const unetWeights = componentWeights(unetFiles, unetParameters(denoiser))
  const vaeWeights = componentWeights(vaeFiles, autoencoderParameters(vae))
  const { threads, lowMemory } = options
  const running = { device, precision, threads, lowMemory }

  const textEncoder = network(({ ids }) => {
    const weights = textWeights()
    const states = clipText(ids, weights, text).hiddenStates.toReversed()
    const outputs = states.map((state, skip): [string, Value] => [
      `state.${skip}`,
      normalisedState(state, weights, text),
    ])
    checkAllRead(weights, { unused: (name) => name.startsWith("text_projection.") })
    return Object.fromEntries(outputs)
  }, running)

  const unetNetwork = network(({ sample, timestep, encoderHiddenStates }) => {
    const weights = unetWeights()
    const output = unet({ sample, timestep, encoderHiddenStates }, weights, denoiser)
    checkAllRead(weights)
    return { output }
  }, running)

  const decoder = network(({ latents }) => {
    const weights = vaeWeights()
    const image = decodeLatents(div(latents, scalar(vae.scalingFactor, latents)), weights, vae)
    checkAllRead(weights, { unused: (name) => /^(encoder|quant_conv)\./.test(name) })
    return { image }
  }, running)

  const networks = [textEncoder, unetNetwork, decoder]
  const latentPixels = 2 ** (vae.blockOutChannels.length - 1)
  const [height, width] = denoiser.sampleSize ?? [64, 64]
  return {
    path: source,
    device,
    precision,
    textConfig: text,
    unetConfig: denoiser,
    vaeConfig: vae,
    schedulerConfig,
    latentPixels,
    size: [height * latentPixels, width * latentPixels],
    defaults,
    tokenizer,
    textEncoder,
    unet: unetNetwork,
    decoder,
    encodings: new Map(),
    loadMs: performance.now() - start,
    async close() {
      await Promise.all(networks.map((part) => part.close()))
    },
  }
}

/** The parts of a model from its folder in diffusers' layout. */
async function openFolder(folder: string, variant: string | undefined): Promise<ModelParts> {
  await checkFamily(folder)
  const part = (name: string) => absolutePath(folder, name)
  const [text, unet, vae, schedulerConfig, tokenizer, defaults] = await Promise.all([
    openComponent(part("text_encoder"), { variant }),
    openComponent(part("unet"), { variant }),
    openComponent(part("vae"), { variant, rename: renameAutoencoderKey }),
    readJson(absolutePath(folder, "scheduler", "scheduler_config.json")),
    openTokenizer(part("tokenizer")),
    readDefaults(folder),
  ])
  return { path: folder, text, unet, vae, schedulerConfig, tokenizer, defaults }
}

async function modelFile(path: string): Promise<string> {
  const file = absolutePath(path)
  if (await exists(file)) return file
  throw new UsageError(
    `There is no file ${path}; give a checkpoint, or the folder of a model in diffusers' layout.`,
  )
}

async function modelFolder(path: string): Promise<string> {
  const folder = absolutePath(path)
  if (await exists(absolutePath(folder, "model_index.json"))) return folder
  if (await exists(folder))
    throw new UsageError(
      `${path} has no model_index.json; give the folder of a whole model in diffusers' layout.`,
    )
  if (/^[\w.-]+\/[\w.-]+$/.test(path))
    throw new UsageError(
      `There is no folder ${path}, and limn cannot fetch models by their Hub name yet; download it and give its folder.`,
    )
  throw new UsageError(`There is no model at ${path}; give the folder of one in diffusers' layout.`)
}

/** The class names of pipelines vary between forks, so the parts decide. */
async function checkFamily(folder: string): Promise<void> {
  const path = absolutePath(folder, "model_index.json")
  const index = await readJson(path)
  if (typeof index !== "object" || index === null)
    throw new FormatError(`${path} is not a JSON object; fetch it again.`)
  const parts = Object.entries(index)
    .filter(([, value]) => Array.isArray(value) && typeof value[0] === "string")
    .map(([name]) => name)
  const needed = ["tokenizer", "text_encoder", "unet", "vae", "scheduler"]
  const missing = needed.filter((part) => !parts.includes(part))
  if (missing.length > 0 || parts.includes("text_encoder_2"))
    throw new LimnError(
      `${path} describes a model of ${parts.join(", ")}; limn runs the Stable Diffusion 1.x family so far, made of ${needed.join(", ")}.`,
    )
}

function choosePrecision(wanted: Precision | "auto", device: Device): Precision {
  if (wanted !== "auto") return wanted
  return device === "cuda" ? "fp16" : "fp32"
}

/** What errors call a part's configuration: its config.json, or the file that its widths come from. */
function configPath({ path, asker }: Component): string {
  return asker === undefined ? absolutePath(path, "config.json") : path
}

/** Throws where parts are whole by themselves and do not belong together. */
function checkFit(
  folder: string,
  text: ClipTextConfig,
  denoiser: UNetConfig,
  latentChannels: number,
  tokenizer: Tokenizer,
): void {
  const textWidth = denoiser.encoderHidDim ?? denoiser.crossAttentionDim[0]
  if (textWidth !== text.hiddenSize)
    throw new FormatError(
      `The unet of ${folder} reads text ${textWidth} wide, and its text_encoder gives ${text.hiddenSize}; use parts of one model.`,
    )
  if (denoiser.inChannels !== latentChannels || denoiser.outChannels !== latentChannels)
    throw new LimnError(
      `The unet of ${folder} takes ${denoiser.inChannels} channels and gives ${denoiser.outChannels}, and its vae has ${latentChannels}; limn cannot make pictures from text with such a model.`,
    )
  if (denoiser.additionEmbed?.type === "text_time")
    throw new LimnError(
      `The unet of ${folder} is of the SDXL family, which limn does not run yet; use a Stable Diffusion 1.x model.`,
    )
  if (tokenizer.vocabSize > text.vocabSize || tokenizer.maxLength > text.maxPositionEmbeddings)
    throw new FormatError(
      `The tokenizer of ${folder} has ${tokenizer.vocabSize} ids in rows of ${tokenizer.maxLength}, too many for its text_encoder (${text.vocabSize}, ${text.maxPositionEmbeddings}); use parts of one model.`,
    )
}
