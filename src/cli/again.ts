import { basename } from "node:path"
import { cachedRepo, readBytes } from "#platform"
import { readPngText } from "../formats/png-text.ts"
import { UsageError } from "../ground/errors.ts"
import { numberWhereExact } from "../ground/random/seed.ts"
import { controlNetName } from "../pipelines/controlnet.ts"
import { loraName } from "../pipelines/lora.ts"
import { readPictureSettings } from "../pipelines/picture-settings.ts"
import type { Settings } from "../pipelines/settings.ts"
import { looksLikeRepo } from "../runtime/hub/names.ts"
import type { ControlOptions } from "./controls.ts"
import { type DrawingOptions, drawOrders, inkling, pictureOptions, sideNames } from "./drawing.ts"
import { facesAgain } from "./faces.ts"
import { ipScaleAgain } from "./ip-adapter.ts"

/** Draws a picture again from the settings in its file; options change single settings. */
export async function again(path: string, options: DrawingOptions): Promise<void> {
  const text = readPngText(await readBytes(path), path)
  const {
    model,
    decoder,
    textEncoder,
    options: made,
    loras,
    controls,
    ipAdapters,
    embeddings,
    precision,
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
  const control = withControls(options, controls ?? [], path)
  const readers = ipAdapters ?? []
  const ofFaces = readers.filter(({ faces }) => Array.isArray(faces))
  const ipScale = ipScaleAgain(
    options,
    readers.filter((one) => !ofFaces.includes(one)),
    path,
  )
  const faces = facesAgain(options, ofFaces, path)
  const { upscale, upscaleStrength, upscaleSteps, extend } = order
  // Those of a picture that was drawn around another follow from the two.
  const { width, height } = extend === undefined ? order : options
  await drawOrders([order], {
    ...options,
    ...(!sideNames.some((side) => options[side] !== undefined) && extend),
    width,
    height,
    strength,
    upscale: options.upscale ?? upscale,
    upscaleStrength: options.upscaleStrength ?? upscaleStrength,
    upscaleSteps: options.upscaleSteps ?? upscaleSteps,
    model: place,
    lora,
    ...control,
    ipScale,
    ...faces,
    textEncoder: options.textEncoder ?? textEncoder,
    precision: options.precision ?? precision,
  })
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
 * How ControlNets are followed, as a picture's file says where the options do not; those that it names must be there, in
 * their order.
 */
function withControls(
  options: DrawingOptions,
  named: NonNullable<Settings["controls"]>,
  path: string,
): ControlOptions {
  const { control = [], controlScale, controlStart, controlEnd } = options
  for (const [i, { name }] of named.entries())
    if (control[i] === undefined || controlNetName(control[i]) !== name)
      throw new UsageError(
        `${path} was drawn with the ControlNet ${JSON.stringify(name)}; say where that is with --control, and what it followed with --control-image.`,
      )
  if (named.length === 0 || control.length > named.length) return {}
  return {
    controlScale: controlScale ?? named.map(({ scale }) => scale),
    controlStart: controlStart ?? named.map(({ start }) => start),
    controlEnd: controlEnd ?? named.map(({ end }) => end),
  }
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
