/** Where a tensor of diffusers' lies in a file that keeps it otherwise. */
export interface Place {
  /** The tensor in the file. */
  readonly name: string
  /** It is one of so many equal blocks of that tensor's rows. */
  readonly rows?: { readonly block: number; readonly of: number }
  /** The axes of that matrix are exchanged. */
  readonly transposed?: true
}

/** What OpenCLIP keeps beside the tensors of its text encoder: a temperature that only training knows. */
export const openClipUnused = /\.logit_scale$/

/** OpenCLIP keeps the three layers before an attention as one. */
const attentionLayers = ["q_proj", "k_proj", "v_proj"]

/**
 * Where OpenCLIP, whose text encoders SDXL took over, keeps a tensor of transformers' `CLIPTextModelWithProjection`, by
 * its name after "conditioner.embedders.1.model.".
 */
export function openClipPlace(name: string): Place {
  if (name === "text_projection.weight") return { name: "text_projection", transposed: true }
  const theirs = name
    .replace(/^text_model\.embeddings\.position_embedding\.weight$/, "positional_embedding")
    .replace(/^text_model\.(embeddings\.)?/, "")
    .replace(/^final_layer_norm\./, "ln_final.")
    .replace(/^encoder\.layers\./, "transformer.resblocks.")
    .replace(/\.layer_norm([12])\./, ".ln_$1.")
    .replace(".mlp.fc1.", ".mlp.c_fc.")
    .replace(".mlp.fc2.", ".mlp.c_proj.")
    .replace(".self_attn.", ".attn.")
  const [, block, layer, kind] = /^(.*\.attn)\.([qkv]_proj)\.(weight|bias)$/.exec(theirs) ?? []
  if (layer === undefined) return { name: theirs }
  return { name: `${block}.in_proj_${kind}`, rows: { block: attentionLayers.indexOf(layer), of: 3 } }
}
