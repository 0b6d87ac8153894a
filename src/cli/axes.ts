import { Option } from "commander"
import { UsageError } from "../ground/errors.ts"
import { numberWhereExact, parseSeed } from "../ground/random/seed.ts"
import type { GridAxis } from "../recipes/grid-axes.ts"

/** How each setting's values are read, by its name on the command line. */
const settings: Readonly<Record<string, (values: readonly string[], flag: string) => GridAxis>> = {
  prompt: (values) => ({ setting: "prompt", values }),
  negative: (values) => ({ setting: "negativePrompt", values }),
  seed: (values, flag) => ({ setting: "seed", values: values.map((text) => seedOf(text, flag)) }),
  steps: (values, flag) => ({ setting: "steps", values: values.map((text) => numberOf(text, flag)) }),
  guidance: (values, flag) => ({
    setting: "guidanceScale",
    values: values.map((text) => numberOf(text, flag)),
  }),
  scheduler: (values) => ({ setting: "scheduler", values }),
  strength: (values, flag) => ({ setting: "strength", values: values.map((text) => numberOf(text, flag)) }),
  variation: (values, flag) => ({
    setting: "variationStrength",
    values: values.map((text) => numberOf(text, flag)),
  }),
  lora: (values, flag) => ({ setting: "loraScale", values: values.map((text) => numberOf(text, flag)) }),
}

/** An option that is one side of a grid. */
export function axisOption(flags: string, description: string): Option {
  const option = new Option(flags, description)
  return option.argParser((text) => parseAxis(text, option.long ?? flags))
}

/**
 * A side of a grid: "steps=4,8,16", or "prompt=a cat, black|a dog" where a value has a comma. Throws a UsageError, in
 * which it is called `flag`, for a setting that is none and for values that cannot be read.
 */
export function parseAxis(text: string, flag: string): GridAxis {
  const [, name, list] = /^\s*(\w+)\s*=(.*)$/s.exec(text) ?? []
  const read = Object.hasOwn(settings, name ?? "") ? settings[name] : undefined
  if (read === undefined)
    throw new UsageError(
      `${flag} is ${JSON.stringify(text)}; give a setting and its values, as in steps=4,8,16, of ${Object.keys(settings).join(", ")}.`,
    )
  const values = list.split(list.includes("|") ? "|" : ",").map((value) => value.trim())
  if (name !== "negative" && values.includes(""))
    throw new UsageError(`${flag} is ${JSON.stringify(text)}; give a value before and after each mark.`)
  return read(values, flag)
}

function numberOf(text: string, flag: string): number {
  const value = Number(text)
  if (!Number.isFinite(value)) throw new UsageError(`${flag} has ${JSON.stringify(text)}; give numbers.`)
  return value
}

function seedOf(text: string, flag: string): number | bigint {
  if (!/^\d+$/.test(text))
    throw new UsageError(
      `${flag} has the seed ${JSON.stringify(text)}; give whole numbers from 0 to 2^64 - 1.`,
    )
  return numberWhereExact(parseSeed(BigInt(text)))
}
