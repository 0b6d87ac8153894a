import { UsageError } from "../ground/errors.ts"
import { float32 } from "../ground/tensor.ts"
import { ipAdapterLayout, ipAdapterUpdates, textAttentions } from "../models/ip-adapter.ts"
import type { IpScale } from "../models/ip-scale.ts"
import { ipScales, isFiniteScale } from "../models/ip-scale.ts"
import { componentWeights, openTensors } from "./component.ts"
import type { HubOptions } from "./hub-model.ts"
import { ipFeeds } from "./ip-feeds.ts"
import { findIpAdapter } from "./ip-files.ts"
import type { OpenedIpAdapter } from "./ip-reader.ts"
import { ipReader, variantFor } from "./ip-reader.ts"
import { loraName } from "./lora.ts"
import type { IpAdapter, LoadedIpAdapter, Model } from "./model.ts"
import type { DescribeUpdates, Network } from "./network.ts"

/** How an IP-Adapter is used, and found. */
export interface IpAdapterOptions extends HubOptions {
  /** How much of it; default 1, for Kolors 0.5. For some blocks only, an object, as `{ up: { block_0: [0, 1, 0] } }` for the style alone. */
  readonly scale?: IpScale
  /**
   * The folder of the image encoder that it was trained with, on this machine or in its repo; default: `image_encoder`
   * beside its file.
   */
  readonly imageEncoder?: string
}

/**
 * An IP-Adapter for `model.with` (Ye et al. 2023): the model then draws after pictures too, which are given as `ipImages`.
 * A .safetensors or .bin file, a folder with one, or their place on the Hub: `org/name`, or `org/name/folder/file`.
 * Basic, Plus and Full adapters are read, those for faces that another network recognises (FaceID) are not. The same file
 * given twice at once is two adapters, each with pictures and a scale of its own.
 * Throws a UsageError where a scale is no number.
 */
export function ipAdapter(path: string, { scale, ...options }: IpAdapterOptions = {}): IpAdapter {
  if (scale !== undefined && !isFiniteScale(scale))
    throw new UsageError(
      `The scale of ${path} is ${JSON.stringify(scale)}; give a number, such as 0.6, or numbers for blocks.`,
    )
  return { ...options, kind: "ip-adapter", path, scale }
}

/** What IP-Adapters make of a model. */
export interface IpAdapterChanges {
  readonly ipAdapters: readonly LoadedIpAdapter[]
  /** The U-Net with the adapters that are new, fed the scales of all. */
  widen(unet: Network): Network
}

/** Reads IP-Adapters for a model, and says what they make of it beside those that it has. */
export async function ipAdapterChanges(model: Model, given: readonly IpAdapter[]): Promise<IpAdapterChanges> {
  const attentions = textAttentions(model.unetConfig)
  let ipAdapters = model.ipAdapters
  const updates: DescribeUpdates[] = []
  const named = new Map<string, number>()
  for (const one of given) {
    const { scale = model.usage.ipScale } = one
    const places = await findIpAdapter(one, one.variant ?? variantFor(model.running))
    const before = named.get(places.file) ?? 0
    named.set(places.file, before + 1)
    const known = ipAdapters.filter(({ path }) => path === places.file).at(before)
    if (known !== undefined) {
      ipAdapters = ipAdapters.map((each) => (each === known ? { ...each, scale } : each))
      continue
    }
    const path = places.file
    const adapter = await openIpAdapter(model, path)
    const feeds = ipFeeds(ipAdapters.length)
    updates.push((inputs) =>
      ipAdapterUpdates(attentions, adapter.tensors, feeds.among(inputs, path), { ...feeds, path }),
    )
    const { imageEncoder } = places
    const readTokens = await ipReader(adapter, imageEncoder, model.running)
    ipAdapters = [...ipAdapters, { name: loraName(path), path, imageEncoder, scale, attentions, readTokens }]
  }
  const fixed = ipAdapters.map(({ scale }, i) => {
    const scales = ipScales(scale, attentions)
    return [ipFeeds(i).scales, float32([scales.length], scales)] as const
  })
  return { ipAdapters, widen: (unet) => unet.with(updates, Object.fromEntries(fixed)) }
}

/** An IP-Adapter's file, which holds what fits the model and nothing else. No weight is read. */
async function openIpAdapter(model: Model, path: string): Promise<OpenedIpAdapter> {
  const tensors = await openTensors([{ path }], (name) => name)
  const { projection, specs } = ipAdapterLayout(path, tensors, model.unetConfig)
  const asker = { name: `an IP-Adapter for ${model.name}`, remedy: "give one that is made for this model" }
  const weights = componentWeights({ path, config: undefined, tensors, asker }, specs)
  return { path, tensors, projection, weights }
}
