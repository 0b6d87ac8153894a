import { absolutePath, exists, wakeEngine } from "#platform"
import { div, scalar } from "../graph/ops/index.ts"
import { FormatError, LimnError, UsageError } from "../ground/errors.ts"
import { decodeLatents, encodeMoments } from "../models/autoencoder-kl.ts"
import { autoencoderConfig } from "../models/config/autoencoder.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import { unetConfig } from "../models/config/unet.ts"
import { autoencoderParameters } from "../models/parameters/autoencoder.ts"
import { unetParameters } from "../models/parameters/unet.ts"
import { deepUnet, shallowUnet } from "../models/unet.ts"
import { chooseDevice } from "../runtime/device.ts"
import { looksLikeRepo } from "../runtime/hub/names.ts"
import { fusesAttention } from "../runtime/kernel-checks.ts"
import type { Device, SessionOptions } from "../runtime/session.ts"
import { withAdditions } from "./additions.ts"
import { isSmall } from "./ahead.ts"
import type { TextPrecision } from "./chatglm-blocks.ts"
import { checkAllRead, componentWeights, configPath } from "./component.ts"
import { residualsAmong } from "./controls.ts"
import { holdsModel } from "./family.ts"
import { lastPart } from "./files.ts"
import type { HubOptions } from "./hub-model.ts"
import { hubModel } from "./hub-model.ts"
import { int8Model } from "./int8-model.ts"
import { needsLowMemory } from "./memory-check.ts"
import type { Model, Precision } from "./model.ts"
import type { Describe } from "./network.ts"
import { network } from "./network.ts"
import { openFolder } from "./open-folder.ts"
import { choosePreview } from "./preview-factors.ts"
import type { QuantizeProgress } from "./rounded-file.ts"
import { safetyChecker } from "./safety-checker.ts"
import type { SingleFileOptions } from "./single-file.ts"
import { namesSingleFile, openSingleFile } from "./single-file.ts"
import { taesdDecoder } from "./taesd.ts"
import { type TextEncoder, textEncoder } from "./text-encoder.ts"

/** How a model is loaded. */
export interface LoadOptions extends Pick<SessionOptions, "threads">, SingleFileOptions, HubOptions {
  /** Where to run; "auto" (the default) is the fastest device that this machine has. */
  readonly device?: Device | "auto"
  /**
   * "auto" (the default) is fp16 on CUDA, where it is fastest, and fp32 elsewhere: a CPU only imitates fp16. "int8" is two
   * to three times as fast as fp32 on a CPU, and a little less exact; the weights are rounded the first time, and kept beside
   * the checkpoint or else in limn's cache.
   */
  readonly precision?: Precision | "auto"
  /**
   * Leaves weights in the checkpoint's pages instead of a rearranged copy, and keeps no part of the model loaded while
   * another works: half the memory or less, in up to twice the time. Default: where a picture would take more memory than
   * is free.
   */
  readonly lowMemory?: boolean
  /**
   * What the matrices of ChatGLM, Kolors' text encoder, are kept in: "float32", exact, or "int8" or "int4", faster and less
   * exact. Integers are made of the checkpoint once and kept beside it, or else in limn's cache. Default: float32, or
   * float16 where the model runs in fp16.
   */
  readonly textEncoder?: TextPrecision
  /** Follows the making of integers, those of `precision` and those of `textEncoder`, part by part. */
  readonly onQuantize?: (progress: QuantizeProgress) => void
  /**
   * TAESD, to decode with in place of the model's own autoencoder: in a small part of the time and memory, and less
   * exact. A file (taesd_decoder.safetensors), or a diffusers folder. Pictures are still encoded with the model's own.
   */
  readonly decoder?: string
}

/**
 * Opens a checkpoint of Stable Diffusion 1.x, SDXL or Kolors: a diffusers folder with model_index.json; or a model of the Hub by
 * its name, `org/name`, which is fetched where the cache does not have it; or one file (.ckpt, .safetensors) with the
 * names of the original code, which is SDXL-Turbo where its name says "turbo". What lies at the path wins over the Hub.
 * Headers and configurations are read and checked; weights stay in their files until a run needs them.
 * Throws a UsageError where the path is none of these or an option is not for this model, a LimnError where a file is missing or cannot be fetched, the
 * model is of another family, or the device does not work, a FormatError where a file is not what it claims to be.
 */
export async function load(path: string, options: LoadOptions = {}): Promise<Model> {
  const start = performance.now()
  const local = namesSingleFile(path) ? await modelFile(path) : await localFolder(path)
  if (local !== undefined && options.revision !== undefined)
    throw new UsageError(
      `${path} is on this machine, and only models on the Hub have revisions; leave it away.`,
    )
  const device = await chooseDevice(wantedDevice(options))
  if (device === "cpu") wakeEngine()
  const precision = choosePrecision(options.precision ?? "auto", device)
  const variant = options.variant ?? (precision === "fp16" ? "fp16" : undefined)
  const source = local ?? (await hubModel(path, { ...options, variant }))
  const parts = await (namesSingleFile(path)
    ? openSingleFile(source, options)
    : openFolder(source, { ...options, variant, name: local === undefined ? path : undefined }))
  const { family, unet: unetFiles, vae: vaeFiles, schedulerConfig, defaults, zeroNegative } = parts
  const denoiser = unetConfig(unetFiles.config, configPath(unetFiles))
  const { threads, lowMemory = needsLowMemory(denoiser, { device, precision }) } = options
  const running = {
    device,
    precision: precision === "int8" ? ("fp32" as const) : precision,
    threads,
    lowMemory,
    fusedAttention: await fusesAttention(device),
  }

  // Loading is the work of one core, so that of large models others are loaded beside the denoiser.
  const beside = isSmall(denoiser, precision) ? running : { ...running, lane: BESIDE_LANE }
  const textEncoders = await Promise.all(
    parts.texts.map((text) => textEncoder(text, family, beside, options)),
  )
  const vae = autoencoderConfig(vaeFiles.config, configPath(vaeFiles))
  checkFit(source, textEncoders, denoiser, vae.latentChannels)

  const unetWeights = componentWeights(unetFiles, unetParameters(denoiser))
  const vaeWeights = componentWeights(vaeFiles, autoencoderParameters(vae))

  const describeDenoiser: Describe = (inputs) => {
    const { sample, timestep, encoderHiddenStates, textEmbeds, timeIds, deep } = inputs
    const weights = unetWeights()
    const residuals = residualsAmong(inputs)
    const asked = { sample, timestep, encoderHiddenStates, textEmbeds, timeIds, residuals }
    if (deep !== undefined) return { output: shallowUnet({ ...asked, deep }, weights, denoiser) }
    const outputs = deepUnet(asked, weights, denoiser)
    checkAllRead(weights)
    return { ...outputs }
  }
  const unetNetwork = network(describeDenoiser, running)

  // Of all parts it takes the most memory while it runs, and it runs seldom: in tiles, in graphs of several sizes.
  const decoding = { ...beside, freeAfterRun: true }
  const vaeRunning: typeof decoding =
    family.upcastsAutoencoder && vae.forceUpcast ? { ...decoding, precision: "fp32" } : decoding
  const encoder = network(({ image }) => {
    const weights = vaeWeights()
    const moments = encodeMoments(image, weights, vae)
    checkAllRead(weights, { unused: (name) => /^(decoder|post_quant_conv)\./.test(name) })
    return { moments }
  }, vaeRunning)

  const latentPixels = 2 ** (vae.blockOutChannels.length - 1)
  const decoderPath = options.decoder === undefined ? undefined : absolutePath(options.decoder)
  const describeDecoder: Describe = ({ latents }) => {
    const weights = vaeWeights()
    const image = decodeLatents(div(latents, scalar(vae.scalingFactor, latents)), weights, vae)
    checkAllRead(weights, { unused: (name) => /^(encoder|quant_conv)\./.test(name) })
    return { image }
  }
  const decoder =
    decoderPath === undefined
      ? network(describeDecoder, vaeRunning)
      : await taesdDecoder(decoderPath, { channels: vae.latentChannels, latentPixels }, decoding)

  const checker = parts.safetyChecker && safetyChecker(parts.safetyChecker, decoding)
  const networks = [...textEncoders.map((encoder) => encoder.network), unetNetwork, encoder, decoder]
  if (checker !== undefined) networks.push(checker.network)
  const [height, width] = denoiser.sampleSize ?? [64, 64]
  const model: Model = {
    name: local === undefined ? path : lastPart(source),
    path: source,
    device,
    precision: running.precision,
    unetConfig: denoiser,
    vaeConfig: vae,
    schedulerConfig,
    latentPixels,
    size: [height * latentPixels, width * latentPixels],
    defaults,
    usage: family.usage,
    textEncoders,
    textPrecision: options.textEncoder,
    mostClipSkip: Math.min(...textEncoders.map(({ mostSkip }) => mostSkip)),
    zeroNegative,
    unet: unetNetwork,
    textProjection: unetFiles.tensors.has(`${TEXT_PROJECTION}.weight`)
      ? () => unetWeights().at(TEXT_PROJECTION)
      : undefined,
    encoder,
    decoder,
    decoderPath,
    safetyChecker: checker,
    preview: choosePreview(defaults.preview, family.preview, vae.latentChannels, source),
    encodings: new Map(),
    loras: [],
    controlNets: [],
    ipAdapters: [],
    running,
    loadMs: performance.now() - start,
    with: (...additions) => withAdditions(model, additions),
    async close() {
      await Promise.all(networks.map((part) => part.close()))
    },
  }
  if (precision !== "int8") return model
  const { signal, onQuantize } = options
  const describes = { denoiser: describeDenoiser, decoder: describeDecoder }
  return int8Model(model, parts, describes, { signal, onProgress: onQuantize })
}

/** The first that no half of a denoiser takes. */
const BESIDE_LANE = 2

/** The U-Net's layer that projects texts, as diffusers calls it. */
const TEXT_PROJECTION = "encoder_hid_proj"

async function modelFile(path: string): Promise<string> {
  const file = absolutePath(path)
  if (await exists(file)) return file
  throw new UsageError(
    `There is no file ${path}; give a checkpoint, or the folder of a model in diffusers' layout.`,
  )
}

/** The folder at a path; undefined where nothing is there and the path can be the name of a model on the Hub. */
async function localFolder(path: string): Promise<string | undefined> {
  const folder = absolutePath(path)
  if (await holdsModel(folder)) return folder
  if (await exists(folder))
    throw new UsageError(
      `${path} has no model_index.json; give the folder of a whole model in diffusers' layout.`,
    )
  if (looksLikeRepo(path)) return undefined
  throw new UsageError(
    `There is no model at ${path}; give the folder of one in diffusers' layout, or its name on the Hub, as org/name.`,
  )
}

/** Integers are for the CPU, so that they choose it. */
function wantedDevice({ device = "auto", precision }: LoadOptions): Device | "auto" {
  if (precision !== "int8") return device
  if (device !== "auto" && device !== "cpu")
    throw new UsageError(`The precision int8 is for the CPU; ${device} has fp32 and fp16.`)
  return "cpu"
}

function choosePrecision(wanted: Precision | "auto", device: Device): Precision {
  if (wanted !== "auto") return wanted
  return device === "cuda" ? "fp16" : "fp32"
}

/** Throws where parts are whole by themselves and do not belong together. */
function checkFit(
  folder: string,
  textEncoders: readonly TextEncoder[],
  denoiser: UNetConfig,
  latentChannels: number,
): void {
  const width = textEncoders.reduce((sum, { hiddenSize }) => sum + hiddenSize, 0)
  const wanted = denoiser.encoderHidDim ?? denoiser.crossAttentionDim[0]
  if (wanted !== width)
    throw new FormatError(
      `The unet of ${folder} reads text ${wanted} wide, and its ${textEncoders.length > 1 ? "text encoders give" : "text_encoder gives"} ${width}; use parts of one model.`,
    )
  // Latents alone, or with the mask and the latents of what is not masked.
  const { inChannels, outChannels } = denoiser
  if (![latentChannels, 2 * latentChannels + 1].includes(inChannels) || outChannels !== latentChannels)
    throw new LimnError(
      `The unet of ${folder} takes ${inChannels} channels and gives ${outChannels}, and its vae has ${latentChannels}; limn cannot make pictures with such a model.`,
    )
  checkPooled(folder, textEncoders.at(-1)!.pooledSize, denoiser)
  for (const { tokenizer, vocabSize, mostTokens } of textEncoders)
    if (tokenizer.vocabSize > vocabSize || tokenizer.maxLength > mostTokens)
      throw new FormatError(
        `The tokenizer of ${folder} has ${tokenizer.vocabSize} ids in rows of ${tokenizer.maxLength}, too many for its text_encoder (${vocabSize}, ${mostTokens}); use parts of one model.`,
      )
}

/** Throws where the denoiser needs a pooled text of another width than the last text encoder gives, or none. */
function checkPooled(folder: string, given: number | null, { additionEmbed }: UNetConfig): void {
  const needed =
    additionEmbed?.type === "text_time" ? additionEmbed.inputDim - 6 * additionEmbed.timeDim : null
  if (needed !== null && needed !== given)
    throw new FormatError(
      `The unet of ${folder} needs a pooled text ${needed} wide, and its text encoders give ${given ?? "none"}; use parts of one model.`,
    )
}
