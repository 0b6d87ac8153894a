import { add, attention, concat, gelu, layerNorm, linear } from "../../graph/ops/index.ts"
import type { Value } from "../../graph/value.ts"
import type { Weights } from "../../graph/weights.ts"
import type { Shape } from "../../ground/shape.ts"
import { linear as linearParameters, norm, repeat } from "../parameters/layers.ts"
import type { Module } from "../parameters/module.ts"

/** What shapes the layers by which a few queries read a picture's patches; all of it shows in their weights. */
export interface PerceiverConfig {
  /** Of each patch. */
  readonly features: number
  /** Of each query. */
  readonly hidden: number
  readonly heads: number
  readonly layers: number
  /** Of the hidden width, in the feed-forward layers. */
  readonly widening: number
}

/** Heads are this wide; their number shows in the weights. */
const HEAD = 64

/** The layers whose tensors have these shapes by their names; what is not there is no whole number above 0. */
export function perceiverConfig(shapes: ReadonlyMap<string, { readonly shape: Shape }>): PerceiverConfig {
  const size = (name: string, axis: number) => shapes.get(name)?.shape[axis] ?? 0
  const numbers = [...shapes.keys()].map((name) => Number(/^layers\.(\d+)\./.exec(name)?.[1] ?? -1))
  const hidden = size("proj_in.weight", 0)
  return {
    features: size("proj_in.weight", 1),
    hidden,
    heads: size("layers.0.0.to_q.weight", 0) / HEAD,
    layers: 1 + Math.max(...numbers),
    widening: size("layers.0.1.1.weight", 0) / hidden,
  }
}

/** Every tensor of such layers that give tokens of a width, under the names of their authors. */
export function perceiverModule(
  { features, hidden, heads, layers, widening }: PerceiverConfig,
  width: number,
): Module {
  const inner = heads * HEAD
  const plain = (from: number, to: number) => linearParameters(from, to, { bias: false })
  return {
    proj_in: linearParameters(features, hidden),
    proj_out: linearParameters(hidden, width),
    norm_out: norm(width),
    layers: repeat(layers, () => ({
      0: {
        norm1: norm(hidden),
        norm2: norm(hidden),
        to_q: plain(hidden, inner),
        to_kv: plain(hidden, 2 * inner),
        to_out: plain(inner, hidden),
      },
      // Index 2 is the GELU.
      1: [norm(hidden), plain(hidden, widening * hidden), undefined, plain(widening * hidden, hidden)],
    })),
  }
}

/**
 * Queries that read a picture, layer after layer (Jaegle et al. 2021; Flamingo's resampler).
 *   queries [B, T, H], features [B, P, F]   ->   [B, T, D]
 * Weight names: those of IP-Adapter's `Resampler` and `FacePerceiverResampler`.
 */
export function perceiver(
  queries: Value,
  features: Value,
  w: Weights,
  { layers, heads }: Pick<PerceiverConfig, "layers" | "heads">,
): Value {
  const patches = linear(features, w.at("proj_in"))
  let h = queries
  for (let n = 0; n < layers; n++) {
    const layer = w.at("layers").at(n)
    h = add(perceive(h, patches, layer.at(0), heads), h)
    h = add(feedForward(h, layer.at(1)), h)
  }
  return layerNorm(linear(h, w.at("proj_out")), w.at("norm_out"))
}

/** Queries [B, T, H] read the patches [B, P, H] and themselves. */
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
