import { UsageError } from "../ground/errors.ts"
import { restyle as draw } from "../recipes/restyle.ts"
import { refuseFaces } from "./faces.ts"
import type { GenerateOptions } from "./generate.ts"
import { generate } from "./generate.ts"

/** What `limn restyle` can be told. */
export interface RestyleCommandOptions extends GenerateOptions {
  /** Path of a picture in whose style. */
  readonly style?: string
}

/** Draws a portrait in another style. */
export async function restyle(
  path: string,
  words: readonly string[],
  { style, ...options }: RestyleCommandOptions,
): Promise<void> {
  const { control = [], controlImage = [`canny:${path}`], ipAdapter, ipScale, strength } = options
  if (control.length !== 1 || ipAdapter === undefined)
    throw new UsageError("Restyling needs one --control and an --ip-adapter (see limn restyle --help).")
  if (options.image !== undefined || options.mask !== undefined || options.ipImage !== undefined)
    throw new UsageError("Restyling draws over its portrait; leave --image, --mask and --ip-image away.")
  refuseFaces("Restyling", options)
  const given = { ...options, image: path, controlImage, ipImage: [style ?? path], ipScale: undefined }
  await generate(words, given, (image) => {
    return (model, drawing) => draw(model, { ...drawing, image: image!, strength, likeness: ipScale })
  })
}
