import { UsageError } from "../ground/errors.ts"
import type { SheetLabel } from "./sheet.ts"

/** What can be different from picture to picture of a grid. */
export interface GridSettings {
  readonly prompt: string
  readonly negativePrompt: string
  readonly seed: number | bigint
  readonly steps: number
  readonly guidanceScale: number
  /** By its name. */
  readonly scheduler: string
  /** How far to leave the picture that is given. */
  readonly strength: number
  /** How far from the pictures of the seed that is varied. */
  readonly variationStrength: number
  /** Of every LoRA that the model has. */
  readonly loraScale: number
}

/** One setting, and its value in each column or row. */
export type GridAxis = {
  readonly [S in keyof GridSettings]: { readonly setting: S; readonly values: readonly GridSettings[S][] }
}[keyof GridSettings]

/** What labels call a setting; text speaks for itself. */
const titles: Readonly<Record<keyof GridSettings, string>> = {
  prompt: "",
  negativePrompt: "not:",
  seed: "seed",
  steps: "steps",
  guidanceScale: "guidance",
  scheduler: "",
  strength: "strength",
  variationStrength: "variation",
  loraScale: "LoRA",
}

/** What stands beside each column or row of an axis. */
export function axisLabels({ setting, values }: GridAxis): SheetLabel[] {
  const plain = { prompt: "prompt", negativePrompt: "negative prompt" }
  return values.map((value, i) => ({
    text: `${titles[setting]} ${value === "" ? "-" : value}`.trim(),
    plain: `${setting in plain ? plain[setting as keyof typeof plain] : titles[setting]} ${i + 1}`.trim(),
  }))
}

/** The settings of each picture of an axis. */
export function axisSettings({ setting, values }: GridAxis): Partial<GridSettings>[] {
  return values.map((value) => ({ [setting]: value }))
}

/** Throws a UsageError where two axes are the same, or one has no values. */
export function checkAxes(axes: readonly GridAxis[]): void {
  const [x, y] = axes
  if (x.setting === y?.setting)
    throw new UsageError(`Both sides of the grid are ${x.setting}; give another setting for one of them.`)
  for (const { setting, values } of axes)
    if (values.length === 0)
      throw new UsageError(`The grid's ${setting} has no values; give at least one, such as two or three.`)
}
