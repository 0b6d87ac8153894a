import { add, attention, gelu, layerNorm, linear, quickGelu } from "../../graph/ops/index.ts"
import type { Value } from "../../graph/value.ts"
import type { Weights } from "../../graph/weights.ts"

/** What shapes a CLIP transformer, beside its weights. */
export interface ClipLayersOptions {
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  readonly hiddenAct: "quick_gelu" | "gelu"
  readonly layerNormEps: number
  /** Added to the attention scores, broadcast to [B, heads, T, T]; none for pictures. */
  readonly mask?: Value
}

/**
 * CLIP's transformer.   x [B, T, D]   ->   x, then the output of every layer, each [B, T, D]
 * Weight names: transformers `CLIPEncoder`.
 */
export function clipLayers(x: Value, w: Weights, options: ClipLayersOptions): Value[] {
  const { numHiddenLayers, hiddenAct, layerNormEps: eps } = options
  const activate = hiddenAct === "gelu" ? gelu : quickGelu
  const states = [x]
  let h = x
  for (let n = 0; n < numHiddenLayers; n++) {
    const layer = w.at("layers").at(n)
    h = add(h, selfAttention(layerNorm(h, layer.at("layer_norm1"), { eps }), layer.at("self_attn"), options))
    const y = layerNorm(h, layer.at("layer_norm2"), { eps })
    h = add(h, linear(activate(linear(y, layer.at("mlp").at("fc1"))), layer.at("mlp").at("fc2")))
    states.push(h)
  }
  return states
}

function selfAttention(x: Value, w: Weights, { numAttentionHeads: heads, mask }: ClipLayersOptions): Value {
  const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((name) => linear(x, w.at(name)))
  return linear(attention(q, k, v, { heads, mask }), w.at("out_proj"))
}
