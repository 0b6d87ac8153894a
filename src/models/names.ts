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

/**
 * Today's name of a tensor of TAESD: diffusers `AutoencoderTiny` holds both halves, the original files one each, of
 * layers with no more of a name than their number. Their decoder begins with a clamp, which diffusers does not count.
 * Other names stay.
 */
export function renameTaesdKey(name: string, half: "encoder" | "decoder"): string {
  return name.replace(
    /^\d+(?=\.)/,
    (layer) => `${half}.layers.${half === "decoder" ? Number(layer) - 1 : layer}`,
  )
}

/** diffusers' name of a tensor of ChatGLM, which its first publishers had under "transformer". Other names stay. */
export function renameChatGlmKey(name: string): string {
  return name.replace(/^transformer\./, "")
}
