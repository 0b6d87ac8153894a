import { UsageError } from "../ground/errors.ts"
import { resizeImage } from "../ground/resize.ts"
import { zeros } from "../ground/tensor.ts"
import { resolveControls } from "./controls.ts"
import type { DenoiseStep } from "./denoise.ts"
import type { DrawResult, Timings } from "./draw.ts"
import { schedulerFor } from "./draw.ts"
import { image } from "./image.ts"
import { imageToImage } from "./image-to-image.ts"
import { resolveIpImages } from "./ip-images.ts"
import type { Model } from "./model.ts"
import { joinRows } from "./rows.ts"
import { withheldWarnings } from "./safety-checker.ts"
import type { Settings } from "./settings.ts"
import { pictureText, resolveSettings, sideUnit, stepsWalked } from "./settings.ts"
import type { TextToImageOptions } from "./text-to-image.ts"
import { textToImage } from "./text-to-image.ts"

/** How pictures are enlarged, and drawn over then. */
export interface UpscaleOptions {
  /** How many times as wide and as high, from 1 on; sides are rounded to the nearest that the model can draw. */
  readonly upscale?: number
  /** How far to leave the enlarged picture, 0 to 1: the share of the second stage's steps that are walked; default 0.5. */
  readonly upscaleStrength?: number
  /** Steps of the second stage, before its strength leaves some out; default: as many as of the first. */
  readonly upscaleSteps?: number
}

/** What to draw, of which size at first, and how much larger in the end; default: twice as wide and as high. */
export interface HiresFixOptions extends TextToImageOptions, UpscaleOptions {}

/**
 * Draws texts in two stages, which web tools call hires fix: at the size that the options say, or the model's own, and
 * then, enlarged by Lanczos' filter, once more. Each picture is the one that `textToImage`, `resizeImage` and, with the
 * same seed, `imageToImage` make; the second stage draws them one by one. Steps count through both stages.
 * A picture that the model's safety checker withholds after the first is not drawn on: it is black, its latents zeros.
 * Throws a UsageError for options that cannot be, a LimnError where the model fails, and the signal's reason.
 */
export async function hiresFix(model: Model, options: HiresFixOptions): Promise<DrawResult> {
  const { onStep, latents, upscale: _, upscaleStrength: __, upscaleSteps: ___, ...shared } = options
  const { seed, upscale, first, second } = planHiresFix(model, options)
  let walked = 0
  let total = first.runs + [shared.prompt].flat().length * (shared.imagesPerPrompt ?? 1) * second.runs
  const count = (step: DenoiseStep) => onStep?.({ ...step, step: walked + step.step, steps: total })
  const small = await textToImage(model, { ...shared, latents, seed, onStep: count })
  walked = first.runs
  total = first.runs + small.withheld.filter((one) => !one).length * second.runs

  const stages: UpscaleOptions = { upscale, upscaleStrength: second.strength, upscaleSteps: second.steps }
  const settings: Settings = { ...small.settings, ...stages }
  const side = (length: number) => {
    const unit = sideUnit(model)
    return Math.round((length * upscale) / unit) * unit
  }
  const [width, height] = [side(settings.width), side(settings.height)]
  const enlarged = small.images.map(({ pixels }) => resizeImage(pixels, width, height))
  const large: (DrawResult | undefined)[] = []
  for (const [i, picture] of enlarged.entries()) {
    if (small.withheld[i]) {
      large.push(undefined)
      continue
    }
    const which = Math.floor(i / settings.imagesPerPrompt)
    const drawn = await imageToImage(model, {
      ...shared,
      prompt: settings.prompt[which],
      negativePrompt: settings.negativePrompt[which],
      imagesPerPrompt: 1,
      seed: typeof seed === "object" ? seed[i] : seed,
      image: picture,
      width,
      height,
      steps: second.steps,
      strength: second.strength,
      onStep: count,
    })
    walked += second.runs
    large.push(drawn)
  }

  const withheld = large.map((drawn) => drawn === undefined || drawn.withheld[0])
  const images = large.map((drawn, i) => image(drawn?.image.pixels ?? enlarged[i], pictureText(settings, i)))
  const { latentChannels } = model.vaeConfig
  const none = () =>
    zeros("float32", [1, latentChannels, height / model.latentPixels, width / model.latentPixels])
  const drawings = [small, ...large.filter((drawn) => drawn !== undefined)]
  return {
    image: images[0],
    images,
    withheld,
    latents: joinRows(large.map((drawn) => drawn?.latents ?? none())),
    settings,
    seed: settings.seed,
    timings: drawings.map(({ timings }) => timings).reduce(sum),
    warnings: [...withheldWarnings(withheld), ...new Set(drawings.flatMap(otherWarnings))],
  }
}

/** How many runs of the model a stage takes, and the settings that say so. */
interface Stage {
  readonly steps: number
  readonly strength: number
  readonly runs: number
}

/**
 * Both stages of such a drawing, before anything is drawn, and the seed, which is that of both.
 * Throws a UsageError for options that cannot be.
 */
export function planHiresFix(
  model: Model,
  options: HiresFixOptions,
): {
  readonly seed: Settings["seed"]
  readonly upscale: number
  readonly first: Stage
  readonly second: Stage
} {
  const { upscale = 2, upscaleStrength = 0.5, upscaleSteps = options.steps } = options
  if (!(Number.isFinite(upscale) && upscale >= 1))
    throw new UsageError(`upscale is ${upscale}; give a number from 1 on, such as 2.`)
  const controls = resolveControls(model, options.controls ?? [])
  const ipImages = resolveIpImages(model, options.ipImages ?? [])
  const stage = (steps: number | undefined, strength?: number) => {
    const scheduler = schedulerFor(model, options)
    const settings = resolveSettings(
      model,
      { ...options, steps, strength, controls, ipImages },
      scheduler.config,
    )
    scheduler.setTimesteps(settings.steps)
    const walked = stepsWalked(settings.steps, strength ?? 1)
    const runs = scheduler.timesteps.length - (settings.steps - walked) * scheduler.order
    return { settings, steps: settings.steps, strength: strength ?? 1, runs }
  }
  const first = stage(options.steps)
  return { seed: first.settings.seed, upscale, first, second: stage(upscaleSteps, upscaleStrength) }
}

function sum(a: Timings, b: Timings): Timings {
  return {
    load: a.load + b.load,
    encode: a.encode + b.encode,
    denoise: a.denoise + b.denoise,
    decode: a.decode + b.decode,
  }
}

/** Those of a stage that are not of pictures withheld, which are counted over all. */
function otherWarnings({ warnings, withheld }: DrawResult): string[] {
  const counted = withheldWarnings(withheld)
  return warnings.filter((warning) => !counted.includes(warning))
}
