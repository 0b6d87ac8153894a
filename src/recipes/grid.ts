import { UsageError } from "../ground/errors.ts"
import { resolveControls } from "../pipelines/controls.ts"
import type { DrawOptions, DrawResult } from "../pipelines/draw.ts"
import { schedulerFor } from "../pipelines/draw.ts"
import { planHiresFix } from "../pipelines/hires-fix.ts"
import type { Image } from "../pipelines/image.ts"
import { image as pictureOf } from "../pipelines/image.ts"
import { resolveIpImages } from "../pipelines/ip-images.ts"
import { lora } from "../pipelines/lora.ts"
import type { Model } from "../pipelines/model.ts"
import { pictureText, resolveSettings } from "../pipelines/settings.ts"
import type { GridAxis, GridSettings } from "./grid-axes.ts"
import { axisLabels, axisSettings, checkAxes } from "./grid-axes.ts"
import type { SheetLabel } from "./sheet.ts"
import { sheet } from "./sheet.ts"
import type { VerbOptions } from "./verb.ts"
import { checkVerb, drawByVerb } from "./verb.ts"

/** What to draw, and what differs from picture to picture; all else is the same for all. */
export interface GridOptions
  extends Omit<DrawOptions, "prompt" | "negativePrompt" | "seed" | "imagesPerPrompt">,
    VerbOptions {
  /** Needed unless it is an axis. */
  readonly prompt?: string
  readonly negativePrompt?: string
  /** Of all pictures; default: a random one, told in the result. */
  readonly seed?: number | bigint
  /** From left to right. */
  readonly x: GridAxis
  /** From the top down; without it the grid is one row. */
  readonly y?: GridAxis
  /** Called, and waited for, after every picture. */
  readonly onPicture?: (picture: GridPicture) => void | Promise<void>
}

/** A picture of a grid as it is drawn. */
export interface GridPicture {
  /** From 0 at the left. */
  readonly column: number
  /** From 0 at the top. */
  readonly row: number
  readonly result: DrawResult
}

/** A grid of pictures, and the pictures. */
export interface GridResult {
  /** The grid with its labels. Its file keeps the settings of all pictures, and both axes. */
  readonly image: Image
  /** In rows. */
  readonly cells: readonly (readonly DrawResult[])[]
  /** Sentences about what was done otherwise than asked, in any of the pictures. */
  readonly warnings: readonly string[]
}

type CellOptions = Omit<GridOptions, "x" | "y" | "onPicture"> & Partial<Pick<GridSettings, "loraScale">>

/**
 * Draws a picture for every two values of two settings, such as steps and guidance, and puts them on one sheet with
 * labels. Every picture is the one that its settings make alone. All settings are checked before the first is drawn.
 * Throws a UsageError for options that cannot be, a LimnError where the model fails, and the signal's reason.
 */
export async function grid(model: Model, options: GridOptions): Promise<GridResult> {
  const { x, y, onPicture, ...shared } = options
  const axes = y === undefined ? [x] : [x, y]
  checkAxes(axes)
  const base: CellOptions = { ...shared, seed: shared.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] }
  const columns = axisSettings(x)
  const rows = y === undefined ? [{}] : axisSettings(y)
  const wanted = rows.map((row) => columns.map((column): CellOptions => ({ ...base, ...row, ...column })))
  checkCells(model, wanted.flat())

  const scaled = await withScales(model, wanted.flat())
  try {
    const cells: DrawResult[][] = []
    for (const [row, line] of wanted.entries()) {
      cells.push([])
      for (const [column, cell] of line.entries()) {
        const result = await drawCell(scaled.get(cell.loraScale) ?? model, cell)
        cells[row].push(result)
        await onPicture?.({ column, row, result })
      }
    }
    const labels = { columns: axisLabels(x), rows: y === undefined ? [] : axisLabels(y) }
    const page = await sheet({ cells: cells.map((line) => line.map(({ image }) => image.pixels)), ...labels })
    const warnings = cells.flat().flatMap((cell) => cell.warnings)
    return {
      image: pictureOf(page.pixels, gridText(cells[0][0], axes)),
      cells,
      warnings: [...new Set([...warnings, ...replacedWarnings(page.replaced)])],
    }
  } finally {
    await Promise.all([...scaled.values()].map((one) => one.close()))
  }
}

function drawCell(model: Model, { loraScale: _, prompt, ...options }: CellOptions): Promise<DrawResult> {
  return drawByVerb(model, { ...options, prompt: prompt! })
}

/** Throws a UsageError for the first picture that cannot be, so that none is drawn in vain. */
function checkCells(model: Model, cells: readonly CellOptions[]): void {
  for (const { prompt, loraScale, ...options } of cells) {
    if (prompt === undefined)
      throw new UsageError("There is no prompt; give one, or some as the grid's prompts.")
    checkVerb(options)
    if (options.upscale !== undefined) planHiresFix(model, { ...options, prompt })
    if (loraScale !== undefined && model.loras.length === 0)
      throw new UsageError("loraScale is that of the model's LoRAs, and it has none; give it one.")
    const controls = resolveControls(model, options.controls ?? [])
    const ipImages = resolveIpImages(model, options.ipImages ?? [])
    resolveSettings(model, { ...options, prompt, controls, ipImages }, schedulerFor(model, options).config)
  }
}

/** The model with its LoRAs at each of the scales that are asked for; graphs are shared. */
async function withScales(
  model: Model,
  cells: readonly CellOptions[],
): Promise<ReadonlyMap<number | undefined, Model>> {
  const scales = new Set(cells.flatMap(({ loraScale }) => (loraScale === undefined ? [] : [loraScale])))
  const models = new Map<number | undefined, Model>()
  for (const scale of scales)
    models.set(scale, await model.with(...model.loras.map(({ path }) => lora(path, { scale }))))
  return models
}

/** What the grid's file keeps: what its pictures have in common, and the axes. */
function gridText({ settings }: DrawResult, axes: readonly GridAxis[]): Readonly<Record<string, string>> {
  const common: Record<string, unknown> = JSON.parse(pictureText(settings, 0).limn)
  for (const { setting } of axes) delete common[setting === "loraScale" ? "loras" : setting]
  const loras = axes.some(({ setting }) => setting === "loraScale")
    ? { loras: (settings.loras ?? []).map(({ name }) => name) }
    : {}
  const [x, y] = axes
  const json = { grid: { x, ...(y && { y }) }, ...common, ...loras }
  return { limn: JSON.stringify(json, (_, value) => (typeof value === "bigint" ? String(value) : value)) }
}

function replacedWarnings(replaced: readonly SheetLabel[]): string[] {
  return replaced.map(
    ({ text, plain }) =>
      `This machine has no letters for ${JSON.stringify(text)}; the grid calls it ${JSON.stringify(plain)}.`,
  )
}
