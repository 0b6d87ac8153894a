import { UsageError } from "../ground/errors.ts"
import { float32 } from "../ground/tensor.ts"
import type { IpAdapterLayout } from "../models/ip-adapter.ts"
import { ipAdapterLayout, ipAdapterUpdates, textAttentions } from "../models/ip-adapter.ts"
import type { IpScale } from "../models/ip-scale.ts"
import { ipScales, isFiniteScale } from "../models/ip-scale.ts"
import { componentWeights, openTensors } from "./component.ts"
import type { FaceModelPlaces } from "./face-models.ts"
import { faceTokenReader } from "./face-tokens.ts"
import type { HubOptions } from "./hub-model.ts"
import { variantFor } from "./image-encoder.ts"
import { ipFeeds } from "./ip-feeds.ts"
import type { IpAdapterPlaces } from "./ip-files.ts"
import { ENCODERS, findIpAdapter, withoutEncoder } from "./ip-files.ts"
import type { OpenedIpAdapter } from "./ip-reader.ts"
import { ipReader } from "./ip-reader.ts"
import { loraName } from "./lora.ts"
import type { IpAdapter, LoadedIpAdapter, Model } from "./model.ts"
import type { DescribeUpdates, Network } from "./network.ts"

/** How an IP-Adapter is used, and found. */
export interface IpAdapterOptions extends HubOptions {
  /**
   * How much of it; default 1, for Kolors 0.5, or 0.8 of one that reads faces. For some blocks only, an object, as
   * `{ up: { block_0: [0, 1, 0] } }` for the style alone.
   */
  readonly scale?: IpScale
  /**
   * The folder of the image encoder that it was trained with, on this machine or in its repo; default: `image_encoder`
   * beside its file, or what Kolors' FaceID has there. FaceID without Plus needs none.
   */
  readonly imageEncoder?: string
  /**
   * For an adapter that reads faces (FaceID): where insightface's networks are, the folder of antelopev2 or buffalo_l, or
   * files. They are not published on the Hub by their authors, and not fetched.
   */
  readonly faceModels?: FaceModelPlaces
}

/**
 * An IP-Adapter for `model.with` (Ye et al. 2023): the model then draws after pictures too, which are given as `ipImages`.
 * A .safetensors or .bin file, a folder with one, or their place on the Hub: `org/name`, or `org/name/folder/file`.
 * Basic, Plus and Full adapters look at whole pictures; FaceID ones, for Kolors as for others, at a face of each. The same
 * file given twice at once is two adapters, each with pictures and a scale of its own.
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
    const places = await findIpAdapter(one, one.variant ?? variantFor(model.running))
    const before = named.get(places.file) ?? 0
    named.set(places.file, before + 1)
    const known = ipAdapters.filter(({ path }) => path === places.file).at(before)
    if (known !== undefined) {
      const { scale = defaultScale(model, known) } = one
      ipAdapters = ipAdapters.map((each) => (each === known ? { ...each, scale } : each))
      continue
    }
    const path = places.file
    const adapter = await openIpAdapter(model, path)
    const feeds = ipFeeds(ipAdapters.length)
    updates.push((inputs) => ipAdapterUpdates(attentions, adapter, feeds.among(inputs, path), feeds.prefix))
    const { imageEncoder } = places
    const { faceModels, scale = defaultScale(model, one) } = one
    const readTokens = await readerOf(adapter, places, one, model)
    const added = { name: loraName(path), path, imageEncoder, faceModels, scale, attentions, readTokens }
    ipAdapters = [...ipAdapters, added]
  }
  const fixed = ipAdapters.map(({ scale }, i) => {
    const scales = ipScales(scale, attentions)
    return [ipFeeds(i).scales, float32([scales.length], scales)] as const
  })
  return { ipAdapters, widen: (unet) => unet.with(updates, Object.fromEntries(fixed)) }
}

/** How much of an adapter a model takes where nobody says: of those that read faces, and have networks for that, other. */
function defaultScale({ usage }: Model, { faceModels }: Pick<IpAdapter, "faceModels">): number {
  return faceModels === undefined ? usage.ipScale : usage.faceScale
}

/** What makes tokens for an adapter. Throws where what it needs for that is not there. */
function readerOf(
  adapter: AnyAdapter,
  { imageEncoder }: IpAdapterPlaces,
  { path, faceModels }: IpAdapter,
  { running, textProjection }: Model,
): Promise<LoadedIpAdapter["readTokens"]> {
  const encoder = () => {
    if (imageEncoder === undefined) throw withoutEncoder(path, ENCODERS[0])
    return imageEncoder
  }
  const { projection } = adapter
  if (projection.kind !== "face") {
    if (faceModels !== undefined)
      throw new UsageError(
        `The IP-Adapter ${path} looks at whole pictures, not at faces; leave faceModels away.`,
      )
    return ipReader({ ...adapter, projection }, encoder(), running)
  }
  if (faceModels === undefined)
    throw new UsageError(
      `The IP-Adapter ${path} reads faces; say where insightface's networks are, as faceModels (--face-models).`,
    )
  const reading = { faceModels, textProjection, encoder: projection.structure && encoder() }
  return faceTokenReader({ ...adapter, projection }, reading, running)
}

type AnyAdapter = OpenedIpAdapter<IpAdapterLayout["projection"]>

/** An IP-Adapter's file, which holds what fits the model and nothing else. No weight is read. */
async function openIpAdapter(model: Model, path: string): Promise<AnyAdapter> {
  const tensors = await openTensors([{ path }], (name) => name)
  const { specs, ...layout } = ipAdapterLayout(path, tensors, model.unetConfig)
  const asker = { name: `an IP-Adapter for ${model.name}`, remedy: "give one that is made for this model" }
  const weights = componentWeights({ path, config: undefined, tensors, asker }, specs)
  return { path, tensors, ...layout, weights }
}
