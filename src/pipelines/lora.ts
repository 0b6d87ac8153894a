import { absolutePath, exists } from "#platform"
import { UsageError } from "../ground/errors.ts"
import { float32 } from "../ground/tensor.ts"
import type { LoraLayers } from "../models/lora.ts"
import { loraUpdates, readLora } from "../models/lora.ts"
import type { LoraPart } from "../models/lora-names.ts"
import { textLoraPart, unetLoraPart } from "../models/lora-names.ts"
import { unetParameters } from "../models/parameters/unet.ts"
import { lastPart, readJson } from "./files.ts"
import type { LoadedLora, Lora, Model } from "./model.ts"
import type { DescribeUpdates, Network } from "./network.ts"
import { withTensorFile } from "./tensor-file.ts"

/**
 * A LoRA for `model.with`: a .safetensors file, or PyTorch's, with the names of any trainer. `scale` (default 1) says how
 * much of it; 0 is none, and more than 1 or less than 0 are allowed. Throws a UsageError where it is no number.
 */
export function lora(path: string, { scale = 1 }: { readonly scale?: number } = {}): Lora {
  if (!Number.isFinite(scale))
    throw new UsageError(`The scale of ${path} is ${scale}; give a number, such as 0.8.`)
  return { kind: "lora", path, scale }
}

/** What LoRAs make of a model. */
export interface LoraChanges {
  readonly loras: readonly LoadedLora[]
  /** A network of the model with the LoRAs that are new, fed the scales of all; `part` is its folder in a checkpoint. */
  adapt(network: Network, part: LoraPart["name"]): Network
}

/** Reads LoRAs for a model, and says what they make of it beside those that it has. */
export async function loraChanges(model: Model, given: readonly Lora[]): Promise<LoraChanges> {
  const scales = new Map(given.map(({ path, scale }) => [absolutePath(path), scale]))
  const kept = model.loras.map((one) => ({ ...one, scale: scales.get(one.path) ?? one.scale }))
  const parts = partsOf(model)
  const added: Added[] = []
  for (const [path, scale] of scales) {
    if (kept.some((one) => one.path === path)) continue
    if (!(await exists(path))) throw new UsageError(`There is no LoRA at ${path}; give a file.`)
    const adapterConfig = await adapterConfigOf(path)
    const { parts: layers, words } = await withTensorFile(path, (file) =>
      readLora({ ...file, adapterConfig }, parts),
    )
    const loaded = { name: loraName(path), parts: [...layers.keys()], words }
    added.push({ lora: { kind: "lora", path, scale, ...loaded }, layers })
  }

  const loras: readonly LoadedLora[] = [...kept, ...added.map(({ lora }) => lora)]
  const adapt = (network: Network, part: LoraPart["name"]): Network => {
    const updates = added.flatMap(({ lora, layers }, i): DescribeUpdates[] => {
      const own = layers.get(part)
      const prefix = prefixOf(kept.length + i)
      return own ? [(inputs) => loraUpdates(own, inputs[scaleOf(prefix)], prefix, lora.path)] : []
    })
    const fixed = loras.flatMap(({ parts, scale }, i) =>
      parts.includes(part) ? [[scaleOf(prefixOf(i)), float32([1], [scale])]] : [],
    )
    return network.with(updates, Object.fromEntries(fixed))
  }
  return { loras, adapt }
}

/** The parts of the text encoders of a model, in order. */
export const textParts = ["text_encoder", "text_encoder_2"] as const

/** A LoRA that was read, and the layers that it changes. */
interface Added {
  readonly lora: LoadedLora
  readonly layers: LoraLayers["parts"]
}

/** The parts of a model that LoRAs are trained on, the U-Net first. */
function partsOf({ unetConfig, textEncoders }: Model): LoraPart[] {
  return [
    unetLoraPart(unetParameters(unetConfig), unetConfig),
    ...textEncoders.map(({ parameters }, i) => textLoraPart(textParts[i], parameters)),
  ]
}

/** What PEFT writes beside its adapter_model.safetensors; undefined for any other file. */
async function adapterConfigOf(path: string): Promise<unknown> {
  const json = path.replace(/(?<=[\\/])adapter_model\.\w+$/, "adapter_config.json")
  return json !== path && (await exists(json)) ? readJson(json) : undefined
}

/** What the names of a LoRA's values begin with in graphs, by its place among the model's. */
function prefixOf(place: number): string {
  return `lora${place}`
}

function scaleOf(prefix: string): string {
  return `${prefix}.scale`
}

/** What web tools call a LoRA: its file's name without the ending. */
export function loraName(path: string): string {
  return lastPart(path).replace(/\.\w+$/, "")
}

/** A sentence for each LoRA whose own words are in one of these texts, where they mean nothing. */
export function loraWarnings({ loras }: Model, texts: readonly string[]): string[] {
  return loras.flatMap(({ path, words }) => {
    const used = words.filter((word) => texts.some((text) => text.includes(word)))
    if (used.length === 0) return []
    return `limn does not read the words that ${path} teaches yet; it took ${used.join(", ")} as plain text.`
  })
}
