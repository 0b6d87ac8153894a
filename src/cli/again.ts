import { basename } from "node:path"
import { readBytes } from "#platform"
import { readPngText } from "../formats/png-text.ts"
import { UsageError } from "../ground/errors.ts"
import { readPictureSettings } from "../pipelines/picture-settings.ts"
import { asSeed, type DrawingOptions, drawOrders, inkling, pictureOptions } from "./drawing.ts"

/** Draws a picture again from the settings in its file; options change single settings. */
export async function again(path: string, options: DrawingOptions): Promise<void> {
  const text = readPngText(await readBytes(path), path)
  const { model, decoder, options: made, picture, warnings } = readPictureSettings(text, path)
  for (const warning of warnings) process.stderr.write(`limn: ${warning}\n`)
  if (decoder !== undefined && options.decoder === undefined)
    process.stderr.write(
      `limn: ${path} was decoded by ${decoder}; to have that again, say where it is with --decoder.\n`,
    )
  const { strength = made.strength, image } = options
  if (strength !== undefined && image === undefined)
    throw new UsageError(`${path} was drawn over another picture; give that with --image.`)
  const seed = options.seed === undefined ? [made.seed ?? 0].flat()[0] : asSeed(options.seed)
  const order = { ...made, ...pictureOptions(options), prompt: [made.prompt].flat()[0], seed, picture }
  await drawOrders([order], { ...options, strength, model: options.model ?? placeOf(model, path) })
}

/** Where the model lies that a picture's file names: only of limn's own is that known. */
function placeOf(model: string | undefined, path: string): string {
  if (model === basename(inkling)) return inkling
  throw new UsageError(
    model === undefined
      ? `${path} does not say which model made it; give that with --model.`
      : `${path} was made by the model ${JSON.stringify(model)}; say where that is with --model.`,
  )
}
