/** Old diffusers names of the layers of an attention block, and today's. */
const attentionLayers: Readonly<Record<string, string>> = {
  query: "to_q",
  key: "to_k",
  value: "to_v",
  proj_attn: "to_out.0",
}

/**
 * Today's name of a tensor of diffusers `AutoencoderKL`. Checkpoints from before diffusers 0.17, SD 1.x among
 * them, call the layers of the middle attention `query`, `key`, `value` and `proj_attn`; other names stay.
 */
export function renameAutoencoderKey(name: string): string {
  return name.replace(
    /(\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)$/,
    (_, block: string, layer: string, kind: string) => `${block}.${attentionLayers[layer]}.${kind}`,
  )
}
