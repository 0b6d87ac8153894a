import { add, gelu, layerNorm, linear, reshape } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { Shape } from "../ground/shape.ts"
import type { PerceiverConfig } from "./layers/perceiver.ts"
import { perceiver, perceiverConfig, perceiverModule } from "./layers/perceiver.ts"
import { linear as linearParameters, norm } from "./parameters/layers.ts"
import type { Module } from "./parameters/module.ts"

/** What shapes the layers that turn a recognised face into tokens for a U-Net; but for `shortcut` it shows in their weights. */
export interface FaceProjectionConfig {
  readonly kind: "face"
  /** Of each token, as of the text's. */
  readonly width: number
  readonly tokens: number
  /** Of the numbers by which the face was recognised. */
  readonly embedding: number
  /** Of the layer after them. */
  readonly hidden: number
  /** How the tokens also read what CLIP sees of the face ("FaceID Plus"); undefined where they do not ("FaceID"). */
  readonly structure?: PerceiverConfig
  /** Whether the tokens gain what they read there, in place of becoming it. */
  readonly shortcut: boolean
}

const RESAMPLER = "perceiver_resampler"

/**
 * The layers whose tensors have these shapes by their names in `image_proj`; undefined where they read no faces. Shapes that
 * contradict each other are for `faceProjectionModule` to show.
 */
export function faceProjectionConfig(
  shapes: ReadonlyMap<string, { readonly shape: Shape }>,
  shortcut: boolean,
): FaceProjectionConfig | undefined {
  const size = (name: string, axis: number) => shapes.get(name)?.shape[axis] ?? 0
  if (!shapes.has("proj.2.weight") || !shapes.has("norm.weight")) return undefined
  const below = new Map(
    [...shapes].flatMap(([name, one]) =>
      name.startsWith(`${RESAMPLER}.`) ? [[name.slice(RESAMPLER.length + 1), one] as const] : [],
    ),
  )
  const width = size("norm.weight", 0)
  return {
    kind: "face",
    width,
    tokens: size("proj.2.weight", 0) / width,
    embedding: size("proj.0.weight", 1),
    hidden: size("proj.0.weight", 0),
    ...(below.size > 0 && { structure: perceiverConfig(below) }),
    shortcut,
  }
}

/** Every tensor of such layers, under the names of their authors. */
export function faceProjectionModule(config: FaceProjectionConfig): Module {
  const { width, tokens, embedding, hidden, structure } = config
  return {
    // Index 1 is the GELU.
    proj: [linearParameters(embedding, hidden), undefined, linearParameters(hidden, tokens * width)],
    norm: norm(width),
    ...(structure && { [RESAMPLER]: perceiverModule(structure, width) }),
  }
}

/**
 * Tokens that a U-Net attends to beside the text's, from a recognised face (IP-Adapter's `MLPProjModel` and
 * `ProjPlusModel`; diffusers `IPAdapterFaceID(Plus)ImageProjection`).
 *   embedding [B, E], and for Plus features [B, P, F], CLIP's state before the last   ->   [B, T, D]
 */
export function faceTokens(
  embedding: Value,
  features: Value | undefined,
  w: Weights,
  { tokens, width, structure, shortcut }: FaceProjectionConfig,
): Value {
  const proj = w.at("proj")
  const wide = linear(gelu(linear(embedding, proj.at(0))), proj.at(2))
  const own = layerNorm(reshape(wide, [embedding.shape[0], tokens, width]), w.at("norm"))
  if (structure === undefined || features === undefined) return own
  const read = perceiver(own, features, w.at(RESAMPLER), structure)
  return shortcut ? add(own, read) : read
}
