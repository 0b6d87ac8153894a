import { add, attention, linear, mul, reshape, slice } from "../graph/ops/index.ts"
import type { Attend, WeightUpdates } from "../graph/passes/low-rank.ts"
import type { Value } from "../graph/value.ts"
import type { StoredWeight } from "../graph/weights.ts"
import { storedWeights } from "../graph/weights.ts"
import { FormatError, LimnError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import type { UNetConfig } from "./config/unet.ts"
import type { ImageProjectionConfig } from "./image-projection.ts"
import { imageProjectionConfig, imageProjectionModule } from "./image-projection.ts"
import { linear as linearParameters } from "./parameters/layers.ts"
import type { ParameterSpec } from "./parameters/module.ts"
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
  readonly projection: ImageProjectionConfig
  /** Its tensors, under the names of its authors: `image_proj.*`, `ip_adapter.*`. */
  readonly specs: readonly ParameterSpec[]
}

/**
 * What an IP-Adapter of these tensors must hold to fit a U-Net. Throws a LimnError for one that reads recognised faces, a
 * FormatError where it is none at all or made for another model, which names both sizes.
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
  const keys = names.filter((name) => /^ip_adapter\.\d+\.to_k_ip\.weight$/.test(name))
  const projection = imageProjectionConfig(own)
  if (own.size > 0 && projection === undefined)
    throw new LimnError(
      `${path} reads faces that another network has recognised (FaceID), which limn does not do; give an IP-Adapter that reads pictures.`,
    )
  if (projection === undefined || keys.length === 0)
    throw new FormatError(
      `${path} holds no IP-Adapter, whose tensors are called image_proj and ip_adapter; give one.`,
    )
  const sizes = Object.values(projection).filter((value) => typeof value === "number")
  if (!sizes.every((size) => Number.isInteger(size) && size > 0))
    throw new FormatError(
      `${path} lacks tensors of its image_proj, or has some in shapes that do not go together; fetch it again.`,
    )
  const [wanted] = unet.crossAttentionDim
  const attentions = textAttentions(unet)
  if (projection.width !== wanted)
    throw new FormatError(
      `${path} is for a model that reads text ${projection.width} wide, and this one reads ${wanted}; give an IP-Adapter made for it.`,
    )
  if (keys.length !== attentions.length)
    throw new FormatError(
      `${path} is for a model with ${keys.length} attentions to the text, and this one has ${attentions.length}; give an IP-Adapter made for it.`,
    )
  const plain = (width: number) => linearParameters(wanted, width, { bias: false })
  const widened = attentions.map(({ number, width }) => [
    number,
    { to_k_ip: plain(width), to_v_ip: plain(width) },
  ])
  return {
    projection,
    specs: parametersOf({
      image_proj: imageProjectionModule(projection),
      ip_adapter: Object.fromEntries(widened),
    }),
  }
}

const PROJECTION = "image_proj."

/** What a U-Net's graph is fed for an IP-Adapter. */
export interface IpAdapterInputs {
  /** Of each picture that it looks at [B, N, T, D]. */
  readonly tokens: Value
  /** How much of it, for each attention to the text [L]. */
  readonly scales: Value
  /** Where each picture counts, for attentions of so many queries [B, N, queries]; undefined where each counts everywhere. */
  mask(queries: number): Value | undefined
}

/**
 * Decoupled cross-attention (Ye et al. 2023; diffusers `IPAdapterAttnProcessor2_0`): what queries find in the text gains
 * what they find in the pictures, by keys and values of its own, times the scale. Without masks they attend to the
 * tokens of all pictures together, with masks to those of each apart. Names in the graph begin with `prefix`, which no
 * other adapter of the graph may have.
 */
export function ipAdapterUpdates(
  attentions: readonly TextAttention[],
  tensors: ReadonlyMap<string, StoredWeight>,
  { tokens, scales, mask }: IpAdapterInputs,
  { prefix, path }: { readonly prefix: string; readonly path: string },
): WeightUpdates {
  const named = [...tensors].map(([name, tensor]) => [`${prefix}.${name}`, tensor] as const)
  const weights = storedWeights(new Map(named), path).at(prefix).at("ip_adapter")
  const [batch, pictures, count, width] = tokens.shape
  const all = reshape(tokens, [batch, pictures * count, width])
  return new Map(
    attentions.map(({ path, number }, i) => {
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
      return [`${path}.to_k.weight`, [{ kind: "attention", attend }]]
    }),
  )
}
