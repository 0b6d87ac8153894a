import { FormatError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { sizeOf } from "../ground/shape.ts"
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
    const names = [...tensors.keys()].filter((name) => numbered.exec(name)?.[1] === part.name)
    if (names.length === 0) continue
    const inside = classesOf(path, metadata[part.name])
    const today = [...part.layers.keys()].filter((layer) => inside.some((pattern) => pattern.test(layer)))
    const fits = (order: readonly string[]) =>
      names.every((name) => {
        const [, , n, role] = numbered.exec(name)!
        const weight = part.layers.get(order[Number(n)])
        const { shape } = tensors.get(name)!
        return (
          weight !== undefined &&
          (role === "up" ? shape[0] === weight[0] : sizeOf(shape.slice(1)) === sizeOf(weight.slice(1)))
        )
      })
    const order = [feedForwardBetween(today), today].find(fits)
    if (order === undefined)
      throw new FormatError(
        `${path} numbers its layers (${names[0]}) in an order that this model's ${part.name} does not have; give a LoRA made for it.`,
      )
    for (const name of names) {
      const [, , n, role] = numbered.exec(name)!
      keys.set(name, { part: part.name, layer: order[Number(n)].replaceAll(".", "_"), role })
    }
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
