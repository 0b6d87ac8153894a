import { add, attention, concat, expand, gelu, layerNorm, linear, reshape } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { Shape } from "../ground/shape.ts"
import { linear as linearParameters, norm, normal, repeat } from "./parameters/layers.ts"
import type { Module } from "./parameters/module.ts"

/** What shapes the layers that turn CLIP's view of a picture into tokens for a U-Net; all of it shows in their weights. */
export type ImageProjectionConfig = {
  /** Of each token, as of the text's. */
  readonly width: number
  /** Of what the image encoder gives. */
  readonly features: number
} & (
  | {
      /** The picture as a whole becomes a few tokens ("IP-Adapter"). */
      readonly kind: "whole"
      readonly tokens: number
    }
  | {
      /** Each of its patches becomes a token ("IP-Adapter Full"). */
      readonly kind: "full"
    }
  | {
      /** A few learnt queries read the patches, layer after layer ("IP-Adapter Plus"). */
      readonly kind: "plus"
      readonly tokens: number
      readonly hidden: number
      readonly heads: number
      readonly layers: number
      /** Of the hidden width, in the feed-forward layers. */
      readonly widening: number
    }
)

/** Heads of Plus are this wide; their number shows in the weights. */
const HEAD = 64

/**
 * The layers whose tensors have these shapes by their names in `image_proj`; undefined where they are none that read
 * pictures. Shapes that contradict each other are for `imageProjectionModule` to show.
 */
export function imageProjectionConfig(
  shapes: ReadonlyMap<string, { readonly shape: Shape }>,
): ImageProjectionConfig | undefined {
  const size = (name: string, axis: number) => shapes.get(name)?.shape[axis] ?? 0
  if (shapes.has("proj.weight")) {
    const width = size("norm.weight", 0)
    return {
      kind: "whole",
      width,
      features: size("proj.weight", 1),
      tokens: Math.floor(size("proj.weight", 0) / width),
    }
  }
  if (shapes.has("proj.3.weight"))
    return { kind: "full", width: size("proj.3.weight", 0), features: size("proj.0.weight", 1) }
  if (!shapes.has("latents")) return undefined
  const numbers = [...shapes.keys()].map((name) => Number(/^layers\.(\d+)\./.exec(name)?.[1] ?? -1))
  const hidden = size("latents", 2)
  return {
    kind: "plus",
    width: size("norm_out.weight", 0),
    features: size("proj_in.weight", 1),
    tokens: size("latents", 1),
    hidden,
    heads: size("layers.0.0.to_q.weight", 0) / HEAD,
    layers: 1 + Math.max(...numbers),
    widening: size("layers.0.1.1.weight", 0) / hidden,
  }
}

/** Every tensor of such layers, under the names of their authors. */
export function imageProjectionModule(config: ImageProjectionConfig): Module {
  const { width, features } = config
  if (config.kind === "whole")
    return { proj: linearParameters(features, config.tokens * width), norm: norm(width) }
  if (config.kind === "full")
    // Index 1 is the GELU.
    return {
      proj: [
        linearParameters(features, features),
        undefined,
        linearParameters(features, width),
        norm(width),
      ] as const,
    }
  const { hidden, tokens } = config
  const inner = config.heads * HEAD
  const plain = (from: number, to: number) => linearParameters(from, to, { bias: false })
  return {
    latents: normal([1, tokens, hidden], 1 / Math.sqrt(hidden)),
    proj_in: linearParameters(features, hidden),
    proj_out: linearParameters(hidden, width),
    norm_out: norm(width),
    layers: repeat(config.layers, () => ({
      0: {
        norm1: norm(hidden),
        norm2: norm(hidden),
        to_q: plain(hidden, inner),
        to_kv: plain(hidden, 2 * inner),
        to_out: plain(inner, hidden),
      },
      // Index 2 is the GELU.
      1: [
        norm(hidden),
        plain(hidden, config.widening * hidden),
        undefined,
        plain(config.widening * hidden, hidden),
      ],
    })),
  }
}

/**
 * Tokens that a U-Net attends to beside the text's, from what CLIP sees in pictures (Ye et al. 2023).
 *   whole        features [B, F], the image embeddings            -> [B, T, D]
 *   full, plus   features [B, P, F], the state before the last    -> [B, T, D], T being P for "full"
 * Weight names: those of the authors' `image_proj`; diffusers `ImageProjection`, `IPAdapterFullImageProjection` and
 * `IPAdapterPlusImageProjection`.
 */
export function imageTokens(features: Value, w: Weights, config: ImageProjectionConfig): Value {
  if (config.kind === "whole") {
    const tokens = linear(features, w.at("proj"))
    return layerNorm(reshape(tokens, [features.shape[0], config.tokens, config.width]), w.at("norm"))
  }
  if (config.kind === "full") {
    const proj = w.at("proj")
    return layerNorm(linear(gelu(linear(features, proj.at(0))), proj.at(2)), proj.at(3))
  }
  const patches = linear(features, w.at("proj_in"))
  let h = expand(w.get("latents"), [features.shape[0], config.tokens, config.hidden])
  for (let n = 0; n < config.layers; n++) {
    const layer = w.at("layers").at(n)
    h = add(perceive(h, patches, layer.at(0), config.heads), h)
    h = add(feedForward(h, layer.at(1)), h)
  }
  return layerNorm(linear(h, w.at("proj_out")), w.at("norm_out"))
}

/** Queries [B, T, H] read the patches [B, P, H] and themselves (Jaegle et al. 2021; Flamingo's resampler). */
function perceive(queries: Value, patches: Value, w: Weights, heads: number): Value {
  const inner = heads * HEAD
  const own = layerNorm(queries, w.at("norm2"))
  const all = concat([layerNorm(patches, w.at("norm1")), own], 1)
  const keys = linear(all, w.at("to_kv").rows(0, inner))
  const values = linear(all, w.at("to_kv").rows(inner, 2 * inner))
  return linear(attention(linear(own, w.at("to_q")), keys, values, { heads }), w.at("to_out"))
}

function feedForward(x: Value, w: Weights): Value {
  return linear(gelu(linear(layerNorm(x, w.at(0)), w.at(1))), w.at(3))
}
