import { UsageError } from "../ground/errors.ts"
import type { IpScale } from "../models/ip-scale.ts"
import { edgesFor } from "../pipelines/controls.ts"
import type { DrawResult } from "../pipelines/draw.ts"
import { definedSize, sizeOver } from "../pipelines/given-picture.ts"
import type { ImageToImageOptions } from "../pipelines/image-to-image.ts"
import { imageToImage } from "../pipelines/image-to-image.ts"
import { ipAdapter } from "../pipelines/ip-adapter.ts"
import type { Model } from "../pipelines/model.ts"

/** What to make of which portrait. */
export interface RestyleOptions extends ImageToImageOptions {
  /**
   * What the ControlNet follows; default: the portrait's Canny edges. For one that follows depth, give the portrait's. Up to
   * 0.9 of the steps unless said otherwise, so that the last ones finish in the new style.
   */
  readonly controls?: ImageToImageOptions["controls"]
  /** What the IP-Adapter looks at; default: the portrait, so that it stays who it is and the prompt says the style. */
  readonly ipImages?: ImageToImageOptions["ipImages"]
  /** How much of the IP-Adapter; default 0.5. */
  readonly likeness?: IpScale
}

/**
 * Draws a portrait in another style: a ControlNet holds the forms (strong control), an IP-Adapter the person or the style
 * of another picture (weak control), and the walk begins with the portrait's own colours.
 * Throws a UsageError for a model that has not one ControlNet and one IP-Adapter, and as `imageToImage` does.
 */
export async function restyle(model: Model, options: RestyleOptions): Promise<DrawResult> {
  const { controlNets, ipAdapters, name } = model
  const { likeness = 0.5, ...rest } = options
  if (controlNets.length !== 1 || ipAdapters.length !== 1)
    throw new UsageError(
      `Restyling needs a ControlNet and an IP-Adapter, and ${name} has ${controlNets.length} and ${ipAdapters.length}; give it one of each, by model.with(controlNet(...), ipAdapter(...)).`,
    )
  const size = { ...sizeOver(model, rest.image), ...definedSize(rest) }
  const { controls = [{ image: edgesFor(rest.image, size) }], ipImages = [rest.image] } = rest
  const [{ path, imageEncoder }] = ipAdapters
  const held = await model.with(ipAdapter(path, { imageEncoder, scale: likeness }))
  try {
    const followed = controls.map((control) => ({ ...control, end: control.end ?? 0.9 }))
    return await imageToImage(held, { ...rest, controls: followed, ipImages })
  } finally {
    await held.close()
  }
}
