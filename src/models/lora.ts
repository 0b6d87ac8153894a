import { input } from "../graph/node.ts"
import { mul, scale as times } from "../graph/ops/index.ts"
import type { WeightUpdate, WeightUpdates } from "../graph/passes/low-rank.ts"
import type { Value } from "../graph/value.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedWeights } from "../graph/weights.ts"
import { FormatError, LimnError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { formatShape, sizeOf } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { toFloat32 } from "../ground/tensor.ts"
import type { PeftSource } from "./lora-alpha.ts"
import { peftFactors } from "./lora-alpha.ts"
import { doraDelta, lohaDelta, lokrDelta, loraDelta } from "./lora-deltas.ts"
import type { LoraPart } from "./lora-names.ts"
import { findLayer, parseLoraKey } from "./lora-names.ts"
import { isNumbered, numberedKeys } from "./lora-numbered.ts"

/** A file of tensors, as far as reading a LoRA asks for it. */
export interface LoraSource extends PeftSource {
  readonly tensors: ReadonlyMap<string, { readonly shape: Shape }>
  stored(name: string): StoredWeight
  read(name: string): Tensor
}

/** What a LoRA holds for one layer. */
export interface LoraLayer {
  /** Of the layer's weight. */
  readonly shape: Shape
  readonly kind: Kind
  /** alpha / rank. */
  readonly factor: number
  readonly tensors: ReadonlyMap<string, StoredWeight>
}

/** What a LoRA's file holds for a model. */
export interface LoraLayers {
  readonly path: string
  /** By the name of the part, then by the layer's. */
  readonly parts: ReadonlyMap<LoraPart["name"], ReadonlyMap<string, LoraLayer>>
  /** Words of a textual inversion that came with it. */
  readonly words: readonly string[]
}

/** How the tensors of each kind make a change of the weight. */
const kinds = {
  lora: { delta: loraDelta, needs: [["down"], ["up"]] },
  loha: {
    delta: lohaDelta,
    needs: [["hada_w1_a"], ["hada_w1_b"], ["hada_w2_a"], ["hada_w2_b"]],
  },
  lokr: {
    delta: lokrDelta,
    needs: [
      ["lokr_w1", "lokr_w1_a"],
      ["lokr_w1", "lokr_w1_b"],
      ["lokr_w2", "lokr_w2_a"],
      ["lokr_w2", "lokr_w2_b"],
    ],
  },
} as const
type Kind = keyof typeof kinds

/** Where each kind's rank shows: the rows of the first that is there; none of a LoKr that is whole. */
const rankedBy: { readonly [K in Kind]: readonly string[] } = {
  lora: ["down"],
  loha: ["hada_w1_b"],
  lokr: ["lokr_w2_b", "lokr_w1_b"],
}

/**
 * Reads which layers of a model a LoRA changes, and how: LoRA, LoHa and LoKr, each with DoRA or without, by the names of
 * any trainer. No factor is read. Throws a FormatError that names the first tensor that fits nothing, or both widths
 * where the LoRA is for a model of another.
 */
export function readLora(source: LoraSource, parts: readonly LoraPart[]): LoraLayers {
  const { path, tensors } = source
  const words: string[] = []
  const found = new Map<LoraPart, Map<string, Map<string, string>>>()
  const keys = isNumbered(tensors) ? numberedKeys(source, parts) : undefined
  for (const name of tensors.keys()) {
    const word = wordOf(name)
    if (word !== undefined) {
      words.push(word)
      continue
    }
    const key = keys ? keys.get(name) : parseLoraKey(name)
    const target = key && findLayer(key, parts)
    if (key === undefined || target === undefined) throw unknown(source, parts, name)
    const layers = found.get(target.part) ?? new Map<string, Map<string, string>>()
    const roles = layers.get(target.layer) ?? new Map<string, string>()
    if (roles.has(key.role))
      throw new FormatError(`${path} holds ${name} twice, by two of its names; take one of them out.`)
    found.set(target.part, layers.set(target.layer, roles.set(key.role, name)))
  }
  if (found.size === 0) throw new FormatError(`${path} holds no layers of a LoRA; give one.`)
  return {
    path,
    words: [...new Set(words)],
    parts: new Map(
      [...found].map(([part, layers]) => {
        const factorOf = peftFactors(source, part.name)
        const read = [...layers].map(([layer, roles]): [string, LoraLayer] => {
          const made = layerOf(source, part, layer, roles, factorOf)
          checkFits(source, parts, `${part.name}.${layer}`, made)
          return [layer, made]
        })
        return [part.name, new Map(read)]
      }),
    ),
  }
}

/** The word that a tensor of a textual inversion stands for, where it is one: `<s1>`, or A1111's bundles. */
function wordOf(name: string): string | undefined {
  return /^<[^>]+>$/.exec(name)?.[0] ?? /^bundle_emb\.([^.]+)\./.exec(name)?.[1]
}

function layerOf(
  source: LoraSource,
  part: LoraPart,
  layer: string,
  roles: ReadonlyMap<string, string>,
  factorOf: (layer: string, rank: number) => number,
): LoraLayer {
  const kind = kindOf(roles)
  const { needs } = kinds[kind]
  const missing = needs.find((some) => !some.some((role) => roles.has(role)))
  if (missing !== undefined)
    throw new FormatError(
      `${source.path} has no ${missing[0]} for ${part.name}.${layer}, only ${[...roles.values()].join(", ")}; fetch it again.`,
    )
  const tensors = new Map<string, StoredWeight>()
  for (const [role, name] of roles) if (role !== "alpha") tensors.set(role, source.stored(name))
  const rank = rankedBy[kind].flatMap((role) => tensors.get(role)?.shape[0] ?? []).at(0)
  const alpha = roles.get("alpha")
  let factor = 1
  if (rank !== undefined)
    factor = alpha === undefined ? factorOf(layer, rank) : numberOf(source, alpha) / rank
  return { shape: part.layers.get(layer)!, kind, factor, tensors }
}

function kindOf(roles: ReadonlyMap<string, string>): Kind {
  const names = [...roles.keys()]
  if (names.some((role) => role.startsWith("hada"))) return "loha"
  return names.some((role) => role.startsWith("lokr")) ? "lokr" : "lora"
}

/** Throws where a layer's tensors, all of them, do not make a change of its weight: describing it finds out. */
function checkFits(source: LoraSource, parts: readonly LoraPart[], name: string, layer: LoraLayer): void {
  try {
    const w = storedWeights(layer.tensors, source.path)
    changeOf(w, layer)(input("weight", "float32", layer.shape))
    if (w.unread().length > 0) throw new LimnError(`${w.unread()[0]} is of no use.`)
  } catch (error) {
    if (!(error instanceof LimnError)) throw error
    const shapes = [...layer.tensors].map(([role, { shape }]) => `${role} ${formatShape(shape)}`)
    throw (
      otherWidth(source, parts) ??
      new FormatError(
        `${source.path} does not fit this model: its ${shapes.join(", ")} make no change of ${name} ${formatShape(layer.shape)}; give a LoRA made for it.`,
      )
    )
  }
}

function numberOf(source: LoraSource, name: string): number {
  const { data } = toFloat32(source.read(name))
  if (data.length !== 1 || !Number.isFinite(data[0]))
    throw new FormatError(`${source.path} holds ${name}, which is not one number; fetch it again.`)
  return data[0]
}

function unknown(source: LoraSource, parts: readonly LoraPart[], name: string): FormatError {
  return (
    otherWidth(source, parts) ??
    new FormatError(
      `${source.path} holds ${JSON.stringify(name)}, which fits no layer of this model; give a LoRA made for it.`,
    )
  )
}

/** The error of a LoRA whose model reads another text: its layers have other names too, so widths tell more. */
function otherWidth({ path, tensors }: LoraSource, parts: readonly LoraPart[]): FormatError | undefined {
  const width = loraTextWidth(tensors)
  const wanted = [...(parts.find(({ name }) => name === "unet")?.layers ?? [])]
    .find(([layer]) => layer.endsWith("attn2.to_k"))?.[1]
    .at(1)
  if (width === undefined || wanted === undefined || width === wanted) return undefined
  return new FormatError(
    `${path} is for a model that reads text ${width} wide, and this one reads ${wanted}; give a LoRA made for it.`,
  )
}

/** How wide the text is that the U-Net of a LoRA's model reads, or undefined where no tensor tells. */
export function loraTextWidth(tensors: ReadonlyMap<string, { readonly shape: Shape }>): number | undefined {
  for (const [name, { shape }] of tensors) {
    const key = parseLoraKey(name)
    if (key?.layer.endsWith("attn2_to_k") && ["down", "hada_w1_b"].includes(key.role)) return shape[1]
  }
  return undefined
}

/**
 * The updates of one part's weights, each times `scale` [1]. Names in the graph begin with `prefix`, which no other LoRA
 * of the graph may have.
 */
export function loraUpdates(
  layers: ReadonlyMap<string, LoraLayer>,
  scale: Value,
  prefix: string,
  path: string,
): WeightUpdates {
  const all = new Map(
    [...layers].flatMap(([layer, { tensors }]) =>
      [...tensors].map(([role, tensor]) => [`${prefix}.${layer}.${role}`, tensor] as const),
    ),
  )
  const weights = storedWeights(all, path).at(prefix)
  const factors = new Map<number, Value>()
  return new Map(
    [...layers].map(([name, layer]): [string, WeightUpdate[]] => {
      const w = weights.at(name)
      const isLinear = layer.shape.length === 2
      if (layer.kind !== "lora" || hasMagnitude(w) || (isLinear && w.has("mid"))) {
        const change = changeOf(w, layer)
        return [`${name}.weight`, [{ kind: "delta", delta: (weight) => mul(change(weight), scale) }]]
      }
      const scaled = factors.get(layer.factor) ?? times(scale, layer.factor)
      factors.set(layer.factor, scaled)
      return [`${name}.weight`, [{ kind: "low-rank", factors: w, scale: scaled }]]
    }),
  )
}

/** The change of a layer's weight at scale 1. */
function changeOf(w: Weights, { kind, factor, shape }: LoraLayer): (weight: Value) => Value {
  const delta = () => times(kinds[kind].delta(w, shape), factor)
  if (!hasMagnitude(w)) return delta
  const magnitude = w.get(w.has("magnitude") ? "magnitude" : "dora_scale")
  // PEFT's is of the outputs; LyCORIS' shape says which.
  const of = w.has("magnitude") || magnitude.shape[0] === sizeOf(magnitude.shape) ? "output" : "input"
  return (weight) => doraDelta(weight, delta(), magnitude, of)
}

function hasMagnitude(w: Weights): boolean {
  return w.has("magnitude") || w.has("dora_scale")
}
