import { dirname } from "node:path"
import { makeFolder } from "#platform"
import { UsageError } from "../ground/errors.ts"
import { numberWhereExact } from "../ground/random/seed.ts"
import { readsWeights } from "../pipelines/text-encoder.ts"
import { grid } from "../recipes/grid.ts"
import type { GridAxis } from "../recipes/grid-axes.ts"
import { readControls } from "./controls.ts"
import type { DrawingOptions } from "./drawing.ts"
import {
  bigintAsText,
  openModel,
  PATIENCE_MS,
  pictureOptions,
  printPreview,
  readSeen,
  verbOptions,
} from "./drawing.ts"
import { interruption } from "./interruption.ts"
import { readPicture } from "./picture.ts"
import { openPlace, shownPath } from "./places.ts"
import { progressOn } from "./progress.ts"
import { readPrompts } from "./prompts.ts"

/** What `limn grid` can be told. */
export interface GridCommandOptions extends DrawingOptions {
  readonly x?: GridAxis
  readonly y?: GridAxis
}

/** Draws a picture for every two values of two settings, all on one sheet. */
export async function drawGrid(words: readonly string[], options: GridCommandOptions): Promise<void> {
  const { x, y, json = false, quiet = false } = options
  if (x === undefined)
    throw new UsageError("A grid needs --x, as in --x steps=4,8,16 (see limn grid --help).")
  const prompts = axisOf(options, "prompt")
  if (prompts !== undefined && words.length > 0)
    throw new UsageError(`The grid has its own prompts; leave ${JSON.stringify(words.join(" "))} away.`)
  const [prompt, ...more] = prompts === undefined ? await readPrompts(words) : prompts.values
  if (prompts === undefined && more.length > 0)
    throw new UsageError(`A grid has one prompt; give several as one of its sides, --x "prompt=one|other".`)
  const seed = numberWhereExact(options.seed ?? BigInt(crypto.getRandomValues(new Uint32Array(1))[0]))
  const place = openPlace(options.out, 1)
  const image = options.image === undefined ? undefined : await readPicture(options.image)
  const verb = await verbOptions(options, image)
  const controlsFor = await readControls(options, verb)
  const ipImages = await readSeen(options)
  const progress = progressOn(process.stderr, { quiet })
  const stop = interruption(() => {
    progress.clear()
    return PATIENCE_MS
  })
  try {
    const model = await openModel(options, progress, stop.signal)
    const total = x.values.length * (y?.values.length ?? 1)
    let done = 0
    const drawn = await grid(model, {
      ...pictureOptions(options),
      promptSyntax: readsWeights(model.textEncoders) ? "weighted" : "plain",
      controls: controlsFor(model),
      ipImages,
      ...(prompts === undefined && { prompt }),
      seed,
      x,
      y,
      ...verb,
      signal: stop.signal,
      onStep({ step, steps }) {
        progress.show({ label: `drawing ${done + 1} of ${total}`, done: step, total: steps })
      },
      onPicture() {
        done++
      },
    })
    const path = place.next(`${prompt} grid`, seed)
    await makeFolder(dirname(path))
    await stop.protect(() => drawn.image.save(path))
    progress.clear()
    const file = shownPath(path)
    if (json) {
      const settings = drawn.cells.map((row) => row.map((cell) => cell.settings))
      const withheld = drawn.cells.map((row) => row.map((cell) => cell.withheld[0]))
      const whole = { file, seed, x, y, settings, withheld, warnings: drawn.warnings }
      console.log(JSON.stringify(whole, bigintAsText, 2))
    } else if (!quiet) {
      for (const warning of drawn.warnings) process.stderr.write(`limn: ${warning}\n`)
      printPreview(drawn.image)
      process.stdout.write(`${file}\n`)
    }
  } catch (error) {
    progress.clear()
    if (stop.signal.aborted) return stop.end()
    throw error
  }
}

/** The side of the grid that has this setting. */
function axisOf<S extends GridAxis["setting"]>({ x, y }: GridCommandOptions, setting: S) {
  return [x, y].find((axis): axis is Extract<GridAxis, { setting: S }> => axis?.setting === setting)
}
