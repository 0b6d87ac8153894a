import { zeros } from "../ground/tensor.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import { openDecoder } from "./autoencoder.ts"
import { openDenoiser } from "./denoise.ts"
import { weightBytes } from "./memory-check.ts"
import type { Conditioning, Model, Precision } from "./model.ts"
import type { OpenNetwork } from "./network.ts"
import type { Settings } from "./settings.ts"
import { latentShape } from "./settings.ts"

/** Of a denoiser that is loaded in less time than another thread takes to start. */
const SMALL_BYTES = 2 ** 27

/** What decides the graphs, as far as it is known before the texts are read. */
interface Foreseen {
  readonly settings: Settings
  readonly guided: boolean
  /** Of the longest text. */
  readonly chunks: number
  /** The denoiser's conditioning from one row for each prompt. */
  readonly complete: (encoded: readonly Conditioning[]) => Conditioning
}

/** Whether a denoiser is so small that its start counts, and its memory does not. */
export function isSmall(denoiser: UNetConfig, precision: Precision): boolean {
  return weightBytes(denoiser, precision) <= SMALL_BYTES
}

/**
 * Loads the denoiser while the texts are still being read, where nothing but texts decides its inputs. It stays loaded, as
 * graphs do until room is needed; what goes wrong is left to those who open it for use.
 */
export function loadDenoiserAhead(model: Model, foreseen: Foreseen): void {
  const { unetConfig, precision, vaeConfig, running, device, textEncoders } = model
  // ChatGLM takes much memory itself while it reads, and what a GPU has is used up sooner.
  const hasRoom = device === "cpu" && textEncoders.every(({ kind }) => kind === "clip")
  const more = model.controlNets.length + model.ipAdapters.length
  const textsDecide = more === 0 && unetConfig.inChannels === vaeConfig.latentChannels
  if (textsDecide && !running.lowMemory && (hasRoom || isSmall(unetConfig, precision)))
    release(openDenoiser(model, foreseenWalk(model, foreseen)))
}

/**
 * Loads the decoder while a large denoiser is still being loaded, and in the same way: over integers, where it takes three
 * seconds and little memory. In float32 it takes one, and would add to the most that is held.
 */
export function loadDecoderAhead(model: Model, settings: Settings): void {
  const { unetConfig, precision, running } = model
  if (precision === "int8" && !running.lowMemory && !isSmall(unetConfig, precision))
    release(openDecoder(model, latentShape(model, settings), settings))
}

function foreseenWalk(model: Model, { settings, guided, chunks, complete }: Foreseen) {
  const { textEncoders } = model
  const width = textEncoders.reduce((sum, { hiddenSize }) => sum + hiddenSize, 0)
  const { pooledSize, tokenizer } = textEncoders.at(-1)!
  const blank: Conditioning = {
    encoderHiddenStates: zeros("float32", [1, chunks * tokenizer.maxLength, width]),
    ...(pooledSize !== null && { textEmbeds: zeros("float32", [1, pooledSize]) }),
  }
  const conditioning = complete(settings.prompt.map(() => blank))
  const { guidanceScale, guidanceInterval, cacheInterval } = settings
  return {
    latents: zeros("float32", latentShape(model, settings)),
    conditioning,
    negative: guided ? conditioning : undefined,
    guidanceScale,
    guidanceInterval,
    cacheInterval,
  }
}

function release(opening: Promise<Pick<OpenNetwork, "release">>): void {
  opening.then(
    (opened) => opened.release(),
    () => {},
  )
}
