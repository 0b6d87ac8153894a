import type { Shape } from "../ground/shape.ts"
import { loraTextWidth } from "./lora.ts"
import { parseLoraKey } from "./lora-names.ts"
import { parseNumberedKey } from "./lora-numbered.ts"

/** What the names and shapes of a LoRA's tensors tell without its model. */
export interface LoraSummary {
  readonly kind: "LoRA" | "LoHa" | "LoKr"
  /** Whether it also sets the lengths of the weights' rows or columns. */
  readonly dora: boolean
  /** From the smallest on. */
  readonly ranks: readonly number[]
  /** How many layers of each part it changes. */
  readonly layers: Readonly<Record<string, number>>
  /** How wide the text is that its model reads, where a tensor tells. */
  readonly textWidth?: number
}

/** Families by the width of the text that their U-Nets read. */
const families: Readonly<Record<number, string>> = {
  768: "Stable Diffusion 1.x",
  1024: "Stable Diffusion 2.x",
  2048: "Stable Diffusion XL",
}

/** What a LoRA is, of any trainer's; undefined of a file in which nothing is named as LoRAs are. */
export function summarizeLora(
  tensors: ReadonlyMap<string, { readonly shape: Shape }>,
): LoraSummary | undefined {
  const layers = new Map<string, Set<string>>()
  const ranks = new Set<number>()
  const roles = new Set<string>()
  for (const [name, { shape }] of tensors) {
    const key = parseLoraKey(name) ?? parseNumberedKey(name)
    if (key === undefined) continue
    const { part = "unet", layer, role } = key
    layers.set(part, (layers.get(part) ?? new Set()).add(layer))
    roles.add(role)
    if (/^down$|_b$/.test(role)) ranks.add(shape[0])
  }
  if (layers.size === 0) return undefined
  const has = (pattern: RegExp) => [...roles].some((role) => pattern.test(role))
  return {
    kind: has(/^hada/) ? "LoHa" : has(/^lokr/) ? "LoKr" : "LoRA",
    dora: has(/^(magnitude|dora_scale)$/),
    ranks: [...ranks].sort((a, b) => a - b),
    layers: Object.fromEntries([...layers].map(([part, names]) => [part, names.size])),
    textWidth: loraTextWidth(tensors),
  }
}

/** A summary as a sentence names it: `a LoRA of rank 8 for Stable Diffusion XL: 560 layers of unet`. */
export function formatLoraSummary({ kind, dora, ranks, layers, textWidth }: LoraSummary): string {
  const last = ranks.at(-1)
  const rank = last === undefined ? "" : ` of rank ${ranks.length === 1 ? last : `${ranks[0]} to ${last}`}`
  const reads = `a model that reads text ${textWidth} wide`
  const model = textWidth === undefined ? "" : ` for ${families[textWidth] ?? reads}`
  const counts = Object.entries(layers).map(
    ([part, count]) => `${count} ${count === 1 ? "layer" : "layers"} of ${part}`,
  )
  return `a ${kind}${dora ? " with DoRA" : ""}${rank}${model}: ${counts.join(", ")}`
}
