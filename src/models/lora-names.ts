import type { Shape } from "../ground/shape.ts"
import { compVisUNetName } from "./compvis-names.ts"
import type { UNetConfig } from "./config/unet.ts"
import type { ParameterSpec } from "./parameters/module.ts"

/** A part of a model that LoRAs are trained on: its layers by their names, each with the shape of its weight. */
export interface LoraPart {
  readonly name: "unet" | "text_encoder" | "text_encoder_2"
  readonly layers: ReadonlyMap<string, Shape>
  /** Names of the layers as files write them, with "_" for ".". */
  readonly aliases: ReadonlyMap<string, string>
}

/** Which tensor of which layer a name of a file means. */
export interface LoraKey {
  /** The part that the name says, by its prefix; undefined where it says none. */
  readonly part?: LoraPart["name"]
  /** The layer in the file's words, with "_" for ".". */
  readonly layer: string
  /** `down`, `up`, `mid`, `magnitude`, or the name's last word where that is the only one: `alpha`, `hada_w1_a`. */
  readonly role: string
}

/** The layers of a U-Net. Files name them as diffusers does, or, for SDXL, as its first publishers did. */
export function unetLoraPart(
  specs: readonly ParameterSpec[],
  config: Pick<UNetConfig, "layersPerBlock" | "upBlockTypes">,
): LoraPart {
  const original = (layer: string) => compVisUNetName(`${layer}.`, config).slice(0, -1)
  // Attention processors had no list around their last layer.
  return partOf("unet", specs, (layer) => [original(layer), layer.replace(/\.to_out\.0$/, ".to_out")])
}

/** The layers of a text encoder, which diffusers names with and without `text_model`, and once as its own attention. */
export function textLoraPart(
  name: "text_encoder" | "text_encoder_2",
  specs: readonly ParameterSpec[],
): LoraPart {
  return partOf(name, specs, (layer) => [
    layer.replace(/^text_model\./, ""),
    layer.replace(/\.self_attn\.(\w+)_proj$/, ".self_attn.to_$1"),
  ])
}

function partOf(
  name: LoraPart["name"],
  specs: readonly ParameterSpec[],
  others: (layer: string) => readonly string[],
): LoraPart {
  const layers = new Map<string, Shape>()
  const aliases = new Map<string, string>()
  for (const { name: weight, shape } of specs) {
    const layer = weight.replace(/\.weight$/, "")
    // Tables of tokens and places are no layers.
    if (layer === weight || shape.length < 2 || /_embeddings?$/.test(layer)) continue
    layers.set(layer, shape)
    for (const alias of [layer, ...others(layer)]) aliases.set(underscored(alias), layer)
  }
  return { name, layers, aliases }
}

const prefixes: readonly (readonly [part: LoraPart["name"] | undefined, prefix: RegExp])[] = [
  ["unet", /^(lora_unet_|unet\.|(model\.)?diffusion_model\.)/],
  ["text_encoder", /^(lora_te1?_|text_encoder\.)/],
  ["text_encoder_2", /^(lora_te2_|text_encoder_2\.)/],
  [undefined, /^base_model\.model\./],
]

const roles: readonly (readonly [role: string, ending: RegExp])[] = [
  ["down", /(\.lora_A(\.\w+)?|\.lora_down|[._]lora\.down|\.lora_linear_layer\.down)\.weight$/],
  ["up", /(\.lora_B(\.\w+)?|\.lora_up|[._]lora\.up|\.lora_linear_layer\.up)\.weight$/],
  ["mid", /\.lora_mid\.weight$/],
  ["magnitude", /\.lora_magnitude_vector(\.\w+)*$/],
]

/** Roles that are named alike in all files. */
const plainRole = /\.(alpha|dora_scale|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](_[ab])?|lokr_t2)$/

/**
 * Reads a name of any of the families that trainers write: PEFT's and diffusers' (`unet.x.y.lora_A.weight`,
 * `unet.x.y.lora.down.weight`, `x.y.processor.to_q_lora.down.weight`) and kohya's (`lora_unet_x_y.lora_down.weight`), with
 * LyCORIS' tensors. Undefined for any other name.
 */
export function parseLoraKey(key: string): LoraKey | undefined {
  const found = roles.find(([, ending]) => ending.test(key))
  const role = found?.[0] ?? plainRole.exec(key)?.[1]
  if (role === undefined) return undefined
  const stem = key.replace(found?.[1] ?? plainRole, "").replace(".processor.", ".")
  const [part, prefix] = prefixes.find(([, prefix]) => prefix.test(stem)) ?? []
  return { part, layer: underscored(prefix ? stem.replace(prefix, "") : stem), role }
}

/** The layer that a key means, or undefined where the model has none of that name. */
export function findLayer(
  { part, layer }: LoraKey,
  parts: readonly LoraPart[],
): { readonly part: LoraPart; readonly layer: string } | undefined {
  for (const one of parts) {
    const name = part === undefined || part === one.name ? one.aliases.get(layer) : undefined
    if (name !== undefined) return { part: one, layer: name }
  }
  return undefined
}

function underscored(name: string): string {
  return name.replaceAll(".", "_")
}
