import { zeros } from "../ground/tensor.ts"
import { openDenoiser } from "./denoise.ts"
import { weightBytes } from "./memory-check.ts"
import type { Conditioning, Model } from "./model.ts"
import type { Settings } from "./settings.ts"
import { latentShape } from "./settings.ts"

/** Of a denoiser that is loaded beside the text encoders: memory is no matter, and its loading is most of a picture's start. */
const SMALL_BYTES = 2 ** 27

/** What decides the denoiser's graph, as far as it is known before the texts are read. */
interface Foreseen {
  readonly settings: Settings
  readonly guided: boolean
  /** Of the longest text. */
  readonly chunks: number
  /** The denoiser's conditioning from one row for each prompt. */
  readonly complete: (encoded: readonly Conditioning[]) => Conditioning
}

/**
 * Loads a small model's denoiser while its texts are still being read, where nothing but texts decides its inputs. It stays
 * loaded, as graphs do until room is needed; what goes wrong is left to those who open it for use.
 */
export function loadAhead(model: Model, foreseen: Foreseen): void {
  const { unetConfig, precision, vaeConfig, running } = model
  const more = model.controlNets.length + model.ipAdapters.length
  const readsMore = more > 0 || unetConfig.inChannels !== vaeConfig.latentChannels
  if (readsMore || running.lowMemory || weightBytes(unetConfig, precision) > SMALL_BYTES) return
  const { settings, guided, chunks, complete } = foreseen
  const { textEncoders } = model
  const width = textEncoders.reduce((sum, { hiddenSize }) => sum + hiddenSize, 0)
  const { pooledSize, tokenizer } = textEncoders.at(-1)!
  const blank: Conditioning = {
    encoderHiddenStates: zeros("float32", [1, chunks * tokenizer.maxLength, width]),
    ...(pooledSize !== null && { textEmbeds: zeros("float32", [1, pooledSize]) }),
  }
  const conditioning = complete(settings.prompt.map(() => blank))
  openDenoiser(model, {
    latents: zeros("float32", latentShape(model, settings)),
    conditioning,
    negative: guided ? conditioning : undefined,
    guidanceScale: settings.guidanceScale,
    guidanceInterval: settings.guidanceInterval,
    cacheInterval: settings.cacheInterval,
  }).then(
    ({ release }) => release(),
    () => {},
  )
}
