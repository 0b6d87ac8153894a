import { constant } from "../graph/node.ts"
import { add, attention, linear, mul, reshape, slice } from "../graph/ops/index.ts"
import type { Attend, WeightUpdates } from "../graph/passes/low-rank.ts"
import { joinUpdates } from "../graph/passes/low-rank.ts"
import type { Value } from "../graph/value.ts"
import type { StoredWeight } from "../graph/weights.ts"
import { storedWeights } from "../graph/weights.ts"
import { FormatError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { float32 } from "../ground/tensor.ts"
import type { UNetConfig } from "./config/unet.ts"
import type { FaceProjectionConfig } from "./face-projection.ts"
import { faceProjectionConfig, faceProjectionModule } from "./face-projection.ts"
import type { ImageProjectionConfig } from "./image-projection.ts"
import { imageProjectionConfig, imageProjectionModule } from "./image-projection.ts"
import { linear as linearParameters } from "./parameters/layers.ts"
import type { Module, ParameterSpec } from "./parameters/module.ts"
import { parametersOf } from "./parameters/module.ts"
import { unetParameters } from "./parameters/unet.ts"

/** One of a U-Net's attentions to the text, which IP-Adapters widen. */
export interface TextAttention {
  /** Its folder: `down_blocks.1.attentions.0.transformer_blocks.0.attn2`. */
  readonly path: string
  /** Its number among all attentions in diffusers' order, by which IP-Adapters name it: 1, 3, 5, ... */
  readonly number: number
  /** How often the picture was halved where it stands. */
  readonly level: number
  /** Channels of its queries. */
  readonly width: number
}

/** All attentions to the text of a U-Net in diffusers' order: on the way down, on the way up, in the middle. */
export function textAttentions(config: UNetConfig): TextAttention[] {
  const last = config.blockOutChannels.length - 1
  const levels: Readonly<Record<string, (block: number) => number>> = {
    down_blocks: (i) => i,
    up_blocks: (u) => last - u,
    mid_block: () => last,
  }
  const paths = unetParameters(config).flatMap(
    ({ name }) => /^(.*\.attn2)\.to_k\.weight$/.exec(name)?.[1] ?? [],
  )
  return Object.keys(levels)
    .flatMap((part) => paths.filter((path) => path.startsWith(part)))
    .map((path, i) => {
      const [part, block] = path.split(".")
      const level = levels[part](Number(block))
      return { path, number: 2 * i + 1, level, width: config.blockOutChannels[level] }
    })
}

/** What an IP-Adapter's file holds. */
export interface IpAdapterLayout {
  readonly projection: ImageProjectionConfig | FaceProjectionConfig
  /** Its tensors, under the names of its authors: `image_proj.*`, and `ip_adapter.*` or Kolors' `adapter_modules.*`. */
  readonly specs: readonly ParameterSpec[]
  /** The name of its part for the attentions. */
  readonly attentionPart: AttentionPart
}

/** What authors call the layers of the attentions; each name goes with ways of its own to read faces. */
export type AttentionPart = "ip_adapter" | "adapter_modules"

/**
 * What an IP-Adapter of these tensors must hold to fit a U-Net. Throws a FormatError where it is none at all or made for
 * another model, which names both sizes.
 */
export function ipAdapterLayout(
  path: string,
  tensors: ReadonlyMap<string, { readonly shape: Shape }>,
  unet: UNetConfig,
): IpAdapterLayout {
  const names = [...tensors.keys()]
  const own = new Map(
    [...tensors].flatMap(([name, tensor]) =>
      name.startsWith(PROJECTION) ? [[name.slice(PROJECTION.length), tensor] as const] : [],
    ),
  )
  const keys = names.filter((name) => /^(ip_adapter|adapter_modules)\.\d+\.to_k_ip\.weight$/.test(name))
  const attentionPart = keys.some((name) => name.startsWith("adapter_modules"))
    ? "adapter_modules"
    : "ip_adapter"
  const fromKolors = attentionPart === "adapter_modules"
  // The second version of h94's FaceID Plus has the tensors of the first.
  const shortcut = fromKolors || /plus-?v2/i.test(path)
  const projection = imageProjectionConfig(own) ?? faceProjectionConfig(own, shortcut)
  if (projection === undefined || keys.length === 0)
    throw new FormatError(
      `${path} holds no IP-Adapter, whose tensors are called image_proj and ip_adapter; give one.`,
    )
  const sizes = Object.values({ ...("structure" in projection && projection.structure), ...projection })
  if (!sizes.every((size) => typeof size !== "number" || (Number.isInteger(size) && size > 0)))
    throw new FormatError(
      `${path} lacks tensors of its image_proj, or has some in shapes that do not go together; fetch it again.`,
    )
  const [attended] = unet.crossAttentionDim
  // Kolors' go the way of the text, through the U-Net's projection.
  const wanted = (fromKolors ? unet.encoderHidDim : undefined) ?? attended
  const attentions = textAttentions(unet)
  if (projection.width !== wanted)
    throw new FormatError(
      `${path} is for a model that reads text ${projection.width} wide, and this one reads ${wanted}; give an IP-Adapter made for it.`,
    )
  if (keys.length !== attentions.length)
    throw new FormatError(
      `${path} is for a model with ${keys.length} attentions to the text, and this one has ${attentions.length}; give an IP-Adapter made for it.`,
    )
  const rank = tensors.get(`${attentionPart}.1.to_q_lora.down.weight`)?.shape[0]
  const plain = (from: number, to: number) => linearParameters(from, to, { bias: false })
  const layers = attentions.flatMap(({ number, width }) => [
    ...(rank === undefined ? [] : [[number - 1, lorasOf(width, width, rank)] as const]),
    [
      number,
      {
        to_k_ip: plain(attended, width),
        to_v_ip: plain(attended, width),
        ...(rank !== undefined && lorasOf(width, attended, rank)),
      },
    ] as const,
  ])
  return {
    projection,
    attentionPart,
    specs: parametersOf({
      image_proj:
        projection.kind === "face" ? faceProjectionModule(projection) : imageProjectionModule(projection),
      [attentionPart]: Object.fromEntries(layers),
    }),
  }
}

const PROJECTION = "image_proj."

/** The layers of an attention that FaceID adapters bring LoRAs for, and what they are called there. */
const loraLayers = { to_q: "to_q", to_k: "to_k", to_v: "to_v", "to_out.0": "to_out" } as const

/** LoRAs for queries [.., width] that attend to what is `seen` wide, as diffusers' `LoRALinearLayer` has them. */
function lorasOf(width: number, seen: number, rank: number): Module {
  return Object.fromEntries(
    Object.values(loraLayers).map((name) => [
      `${name}_lora`,
      {
        down: linearParameters(name === "to_k" || name === "to_v" ? seen : width, rank, { bias: false }),
        up: linearParameters(rank, width, { bias: false }),
      },
    ]),
  )
}

/** What a U-Net's graph is fed for an IP-Adapter. */
export interface IpAdapterInputs {
  /** Of each picture that it looks at [B, N, T, D]. */
  readonly tokens: Value
  /** How much of it, for each attention to the text [L]. */
  readonly scales: Value
  /** Where each picture counts, for attentions of so many queries [B, N, queries]; undefined where each counts everywhere. */
  mask(queries: number): Value | undefined
}

/** An IP-Adapter's layers in the attentions. */
export interface IpAdapterLayers {
  /** Its file's tensors. */
  readonly tensors: ReadonlyMap<string, StoredWeight>
  readonly attentionPart: AttentionPart
  /** Its file, for errors. */
  readonly path: string
}

/**
 * Decoupled cross-attention (Ye et al. 2023; diffusers `IPAdapterAttnProcessor2_0`): what queries find in the text gains
 * what they find in the pictures, by keys and values of its own, times the scale. Without masks they attend to the
 * tokens of all pictures together, with masks to those of each apart. LoRAs that came with it, for attentions of both
 * kinds, count in full at every scale. Names in the graph begin with `prefix`, which no other adapter of the graph may
 * have.
 */
export function ipAdapterUpdates(
  attentions: readonly TextAttention[],
  { tensors, attentionPart, path }: IpAdapterLayers,
  { tokens, scales, mask }: IpAdapterInputs,
  prefix: string,
): WeightUpdates {
  // Updates of weights call a LoRA's matrices "down" and "up".
  const named = [...tensors].map(
    ([name, tensor]) => [`${prefix}.${name.replace(/(_lora\.\w+)\.weight$/, "$1")}`, tensor] as const,
  )
  const weights = storedWeights(new Map(named), path).at(prefix).at(attentionPart)
  const [batch, pictures, count, width] = tokens.shape
  const all = reshape(tokens, [batch, pictures * count, width])
  const updates = attentions.map(({ path: place, number }, i): WeightUpdates => {
    const w = weights.at(number)
    const attend: Attend = (queries, options) => {
      const look = (seen: Value) =>
        attention(queries, linear(seen, w.at("to_k_ip")), linear(seen, w.at("to_v_ip")), options)
      const scale = slice(scales, 0, i, i + 1)
      const where = mask(queries.shape[1])
      if (where === undefined) return mul(look(all), scale)
      return Array.from({ length: pictures }, (_, n) => {
        const seen = look(slice(all, 1, n * count, (n + 1) * count))
        return mul(mul(seen, reshape(slice(where, 1, n, n + 1), [batch, queries.shape[1], 1])), scale)
      }).reduce(add)
    }
    return new Map([[`${place}.to_k.weight`, [{ kind: "attention", attend }]]])
  })
  if (!weights.at(1).has("to_q_lora")) return joinUpdates(updates)
  const whole = constant(float32([1], [1]))
  const loras = attentions.flatMap(({ path: place, number }) =>
    [place.replace(/attn2$/, "attn1"), place].flatMap((attention, i) =>
      Object.entries(loraLayers).map(([layer, name]): WeightUpdates => {
        const factors = weights.at(number - 1 + i).at(`${name}_lora`)
        return new Map([[`${attention}.${layer}.weight`, [{ kind: "low-rank", factors, scale: whole }]]])
      }),
    ),
  )
  return joinUpdates([...updates, ...loras])
}
