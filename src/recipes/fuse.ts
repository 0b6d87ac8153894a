import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { styleScales } from "../models/ip-scale.ts"
import type { DrawResult } from "../pipelines/draw.ts"
import type { IpAdapterOptions } from "../pipelines/ip-adapter.ts"
import { ipAdapter } from "../pipelines/ip-adapter.ts"
import type { LoadedIpAdapter, Model } from "../pipelines/model.ts"
import type { TextToImageOptions } from "../pipelines/text-to-image.ts"
import { textToImage } from "../pipelines/text-to-image.ts"

/** What to draw, and after which two pictures. */
export interface FuseOptions extends Omit<TextToImageOptions, "ipImages"> {
  /** Who or what is drawn; several are looked at together. */
  readonly identity: Pixels | readonly Pixels[]
  /** In whose style. */
  readonly style: Pixels | readonly Pixels[]
  /** How much of the first; default 1, for Kolors 0.5. */
  readonly identityScale?: number
  /** How much of the second; default 1. */
  readonly styleScale?: number
}

/**
 * Draws what one picture shows in the style of another, by a model's IP-Adapter: the second is looked at where style is
 * made alone, and the first everywhere else (InstantStyle, Wang et al. 2024). A model with two IP-Adapters takes the
 * first for the identity and the second for the style; to draw several times, give it the same one twice.
 * Throws a UsageError for a model without an IP-Adapter or with more, and as `textToImage` does.
 */
export async function fuse(model: Model, options: FuseOptions): Promise<DrawResult> {
  const { identity, style, identityScale = model.usage.ipScale, styleScale = 1, ...rest } = options
  const [first, second = first] = model.ipAdapters
  if (first === undefined || model.ipAdapters.length > 2)
    throw new UsageError(
      `${model.name} has ${model.ipAdapters.length} IP-Adapters, and fusion looks through one, or through two; give it one, by model.with(ipAdapter(...)).`,
    )
  const scales = styleScales(first.attentions, { style: styleScale, rest: identityScale })
  const fused = await model.with(
    ipAdapter(first.path, { ...placesOf(first), scale: scales.rest }),
    ipAdapter(second.path, { ...placesOf(second), scale: scales.style }),
  )
  try {
    return await textToImage(fused, { ...rest, ipImages: [[identity].flat(), [style].flat()] })
  } finally {
    await fused.close()
  }
}

/** What reads pictures for an adapter. */
function placesOf({ imageEncoder, faceModels }: LoadedIpAdapter): IpAdapterOptions {
  return { imageEncoder, faceModels }
}
