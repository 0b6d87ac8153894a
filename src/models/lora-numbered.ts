import { FormatError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { sameShape } from "../ground/shape.ts"
import type { LoraKey, LoraPart } from "./lora-names.ts"

/** A file of the first trainer of LoRAs for pictures (cloneofsimo's), as far as its names are read. */
interface NumberedSource {
  readonly path: string
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, { readonly shape: Shape }>
}

/** `unet:0:up`: the layers are numbered in the order in which torch walks the model. */
const numbered = /^(unet|text_encoder):(\d+):(up|down)$/

/** Classes of modules inside which layers were trained, by which layers limn has in them. */
const classes: Readonly<Record<string, RegExp>> = {
  CrossAttention: /\.attn[12]\.to_/,
  Attention: /\.attn[12]\.to_/,
  GEGLU: /\.ff\.net\.0\.proj$/,
  CLIPAttention: /\.self_attn\./,
}

/** Reads a name that numbers its layer: the number stands for the layer. Undefined for any other name. */
export function parseNumberedKey(name: string): LoraKey | undefined {
  const [, part, layer, role] = numbered.exec(name) ?? []
  return role === undefined ? undefined : { part: part as LoraPart["name"], layer, role }
}

/** Whether a file's layers are numbered, not named. */
export function isNumbered(tensors: ReadonlyMap<string, unknown>): boolean {
  return [...tensors.keys()].some((name) => numbered.test(name))
}

/**
 * Which layer each numbered tensor means. The metadata list the classes; the order inside a transformer block is that of
 * the diffusers of its day, in which the feed-forward layer stood between the two attentions, or today's: the one that
 * all shapes fit. Throws a FormatError where none does, or layers are of classes that limn does not know.
 */
export function numberedKeys(
  { path, metadata, tensors }: NumberedSource,
  parts: readonly LoraPart[],
): ReadonlyMap<string, LoraKey> {
  const keys = new Map<string, LoraKey>()
  for (const part of parts) {
    const found = [...tensors].flatMap(([name, { shape }]) => {
      const key = parseNumberedKey(name)
      return key?.part === part.name ? [{ name, shape, key }] : []
    })
    if (found.length === 0) continue
    const inside = classesOf(path, metadata[part.name])
    const today = [...part.layers.keys()].filter((layer) => inside.some((pattern) => pattern.test(layer)))
    const fits = (order: readonly string[]) =>
      found.every(({ shape, key: { layer, role } }) => {
        const weight = part.layers.get(order[Number(layer)])
        if (weight === undefined) return false
        return role === "up" ? shape[0] === weight[0] : sameShape(shape.slice(1), weight.slice(1))
      })
    const order = [feedForwardBetween(today), today].find(fits)
    if (order === undefined)
      throw new FormatError(
        `${path} numbers its layers (${found[0].name}) in an order that this model's ${part.name} does not have; give a LoRA made for it.`,
      )
    for (const { name, key } of found)
      keys.set(name, { ...key, layer: order[Number(key.layer)].replaceAll(".", "_") })
  }
  return keys
}

function classesOf(path: string, listed: string | undefined): RegExp[] {
  const names = listed?.match(/\w+/g) ?? []
  const strange = names.find((name) => !(name in classes))
  if (names.length > 0 && strange === undefined) return names.map((name) => classes[name])
  throw new FormatError(
    `${path} numbers layers of ${strange ?? "classes that it does not name"}, whose order limn does not know; convert it to a file with names.`,
  )
}

/** Every feed-forward layer moved before the second attention of its block. */
function feedForwardBetween(layers: readonly string[]): string[] {
  const blocks = new Map<string, string[]>()
  for (const layer of layers) {
    const block = layer.replace(/\.(attn[12]|ff)\..*$/, "")
    blocks.set(block, [...(blocks.get(block) ?? []), layer])
  }
  const last = (layer: string) => Number(layer.includes(".attn2."))
  return [...blocks.values()].flatMap((block) => block.toSorted((a, b) => last(a) - last(b)))
}
