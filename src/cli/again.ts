import { basename } from "node:path"
import { cachedRepo, readBytes } from "#platform"
import { readPngText } from "../formats/png-text.ts"
import { UsageError } from "../ground/errors.ts"
import { numberWhereExact } from "../ground/random/seed.ts"
import { loraName } from "../pipelines/lora.ts"
import { readPictureSettings } from "../pipelines/picture-settings.ts"
import type { Settings } from "../pipelines/settings.ts"
import { looksLikeRepo } from "../runtime/hub/names.ts"
import { type DrawingOptions, drawOrders, inkling, pictureOptions } from "./drawing.ts"
import { ipScaleAgain } from "./ip-adapter.ts"

/** Draws a picture again from the settings in its file; options change single settings. */
export async function again(path: string, options: DrawingOptions): Promise<void> {
  const text = readPngText(await readBytes(path), path)
  const {
    model,
    decoder,
    options: made,
    loras,
    ipAdapters,
    embeddings,
    picture,
    warnings,
  } = readPictureSettings(text, path)
  const missing =
    embeddings.length > 0 && options.embedding === undefined
      ? [`${path} was drawn with learnt words (${embeddings.join(", ")}); give their files with --embedding.`]
      : []
  for (const warning of [...warnings, ...missing]) process.stderr.write(`limn: ${warning}\n`)
  if (decoder !== undefined && options.decoder === undefined)
    process.stderr.write(
      `limn: ${path} was decoded by ${decoder}; to have that again, say where it is with --decoder.\n`,
    )
  const { strength = made.strength, image } = options
  if (strength !== undefined && image === undefined)
    throw new UsageError(`${path} was drawn over another picture; give that with --image.`)
  const seed = options.seed === undefined ? [made.seed ?? 0].flat()[0] : numberWhereExact(options.seed)
  const order = { ...made, ...pictureOptions(options), prompt: [made.prompt].flat()[0], seed, picture }
  const place = options.model ?? (await placeOf(model, path))
  const lora = withScales(options.lora ?? [], loras ?? [], path)
  const ipScale = ipScaleAgain(options, ipAdapters ?? [], path)
  await drawOrders([order], { ...options, strength, model: place, lora, ipScale })
}

/** The LoRAs given, at the scales that a picture's file names where none is given; those that it names must be there. */
function withScales(
  given: NonNullable<DrawingOptions["lora"]>,
  named: NonNullable<Settings["loras"]>,
  path: string,
): DrawingOptions["lora"] {
  for (const { name } of named)
    if (!given.some((one) => loraName(one.path) === name))
      throw new UsageError(
        `${path} was drawn with the LoRA ${JSON.stringify(name)}; say where that is with --lora.`,
      )
  return given.map((one) => ({
    path: one.path,
    scale: one.scale ?? named.find(({ name }) => loraName(one.path) === name)?.scale,
  }))
}

/**
 * Where the model lies that a picture's file names: limn's own, or one of the Hub that the cache holds. Gigabytes are
 * not fetched because a picture says so.
 */
async function placeOf(model: string | undefined, path: string): Promise<string> {
  if (model === undefined)
    throw new UsageError(`${path} does not say which model made it; give that with --model.`)
  if (model === basename(inkling)) return inkling
  if (looksLikeRepo(model) && (await cachedRepo(model)).snapshots.length > 0) return model
  throw new UsageError(
    `${path} was made by the model ${JSON.stringify(model)}; say where that is with --model.`,
  )
}
