import { expand, gelu, layerNorm, linear, reshape } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { Shape } from "../ground/shape.ts"
import type { PerceiverConfig } from "./layers/perceiver.ts"
import { perceiver, perceiverConfig, perceiverModule } from "./layers/perceiver.ts"
import { linear as linearParameters, norm, normal } from "./parameters/layers.ts"
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
  | ({
      /** A few learnt queries read the patches, layer after layer ("IP-Adapter Plus"). */
      readonly kind: "plus"
      readonly tokens: number
    } & PerceiverConfig)
)

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
  return {
    kind: "plus",
    width: size("norm_out.weight", 0),
    tokens: size("latents", 1),
    ...perceiverConfig(shapes),
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
  return { latents: normal([1, tokens, hidden], 1 / Math.sqrt(hidden)), ...perceiverModule(config, width) }
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
  return perceiver(
    expand(w.get("latents"), [features.shape[0], config.tokens, config.hidden]),
    features,
    w,
    config,
  )
}
