import { absolutePath, exists, list } from "#platform"
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
import { namesSingleFile } from "./single-file.ts"
import { withTensorFile } from "./tensor-file.ts"

/**
 * A LoRA for `model.with`: a .safetensors file, or PyTorch's, with the names of any trainer; or the folder that diffusers,
 * PEFT or Kolors' DreamBooth script wrote. `scale` says how much of it (default 1; 0.8 where it changes the U-Net of Kolors);
 * 0 is none, and more than 1 or less than 0 are allowed. A folder that also has PEFT's adapter of the text encoder takes
 * that whole, as Kolors' script does. Throws a UsageError where the scale is no number.
 */
export function lora(path: string, { scale }: { readonly scale?: number } = {}): Lora {
  if (scale !== undefined && !Number.isFinite(scale))
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
  const scaleFor = (parts: readonly string[], scale: number | undefined) =>
    scale ?? (parts.includes("unet") ? model.usage.loraScale : 1)
  const kept = model.loras.map((one) =>
    scales.has(one.path) ? { ...one, scale: scaleFor(one.parts, scales.get(one.path)) } : one,
  )
  const added: Added[] = []
  for (const [path, given] of scales) {
    if (kept.some((one) => one.path === path)) continue
    const { layers, words, wholeParts } = await readFiles(model, path)
    const parts = [...layers.keys()]
    const scale = scaleFor(parts, given)
    const loaded = { name: loraName(path), parts, wholeParts, words }
    added.push({ lora: { kind: "lora", path, scale, ...loaded }, layers })
  }

  const loras: readonly LoadedLora[] = [...kept, ...added.map(({ lora }) => lora)]
  const adapt = (network: Network, part: LoraPart["name"]): Network => {
    const updates = added.flatMap(({ lora, layers }, i): DescribeUpdates[] => {
      const own = layers.get(part)
      const prefix = prefixOf(kept.length + i)
      return own ? [(inputs) => loraUpdates(own, inputs[scaleOf(prefix)], prefix, lora.path)] : []
    })
    const fixed = loras.flatMap(({ parts, wholeParts, scale }, i) =>
      parts.includes(part)
        ? [[scaleOf(prefixOf(i)), float32([1], [wholeParts.includes(part) ? 1 : scale])]]
        : [],
    )
    return network.with(updates, Object.fromEntries(fixed))
  }
  return { loras, adapt }
}

/** The parts of the text encoders of a model, in order. */
export const textParts = ["text_encoder", "text_encoder_2"] as const

/** What the files of a LoRA change. */
type ReadLora = { readonly layers: LoraLayers["parts"] } & Pick<LoadedLora, "words" | "wholeParts">

/** A LoRA that was read, and the layers that it changes. */
interface Added extends Pick<ReadLora, "layers"> {
  readonly lora: LoadedLora
}

/** Reads the one file of a LoRA, or those of its folder. */
async function readFiles(model: Model, path: string): Promise<ReadLora> {
  if (!(await exists(path))) throw new UsageError(`There is no LoRA at ${path}; give a file or a folder.`)
  const files = await filesOf(path)
  const parts = partsOf(model)
  const read = []
  for (const file of files) {
    const adapterConfig = await adapterConfigOf(file)
    read.push(await withTensorFile(file, (opened) => readLora({ ...opened, adapterConfig }, parts)))
  }
  const [first, second] = read
  const twice = [...first.parts.keys()].find((part) => second?.parts.has(part))
  if (twice !== undefined)
    throw new UsageError(
      `${first.path} and ${second.path} both change the model's ${twice}; give them one by one.`,
    )
  return {
    layers: new Map(read.flatMap(({ parts }) => [...parts])),
    words: read.flatMap(({ words }) => words),
    wholeParts: [...(second?.parts.keys() ?? [])],
  }
}

/**
 * The files of a LoRA: the one that is given, whatever it is called, or those of a folder, which are what diffusers calls
 * that of the model, and behind it PEFT's, of the text encoder.
 */
async function filesOf(folder: string): Promise<string[]> {
  const names = namesSingleFile(folder) ? undefined : await list(folder).catch(() => undefined)
  if (names === undefined) return [folder]
  const found = ["pytorch_lora_weights", "adapter_model"].flatMap(
    (stem) => [`${stem}.safetensors`, `${stem}.bin`].find((name) => names.includes(name)) ?? [],
  )
  if (found.length === 0)
    throw new UsageError(
      `${folder} has no pytorch_lora_weights.safetensors and no adapter_model.safetensors; give the file of a LoRA.`,
    )
  return found.map((name) => absolutePath(folder, name))
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

/** What web tools call a LoRA: its file's name without the ending, or its folder's. */
export function loraName(path: string): string {
  return lastPart(path.replace(/[\\/]+$/, "")).replace(/\.\w+$/, "")
}

/** A sentence for each LoRA whose own words are in one of these texts, where they mean nothing. */
export function loraWarnings({ loras }: Model, texts: readonly string[]): string[] {
  return loras.flatMap(({ path, words }) => {
    const used = words.filter((word) => texts.some((text) => text.includes(word)))
    if (used.length === 0) return []
    return `limn does not read the words that ${path} teaches yet; it took ${used.join(", ")} as plain text.`
  })
}
