import { UsageError } from "../ground/errors.ts"
import { numberWhereExact } from "../ground/random/seed.ts"
import type { DrawingOptions, VerbFor } from "./drawing.ts"
import { drawOrders, pictureOptions } from "./drawing.ts"
import { readPrompts } from "./prompts.ts"

/** What `limn [PROMPT...]` can be told. */
export interface GenerateOptions extends DrawingOptions {
  readonly images?: number
  /** Path of a file of prompts. */
  readonly prompts?: string
}

/** Draws every prompt as many times as asked; `verbFor` as in `drawOrders`. */
export async function generate(
  words: readonly string[],
  options: GenerateOptions,
  verbFor?: VerbFor,
): Promise<void> {
  const prompts = await readPrompts(words, { file: options.prompts })
  // Who draws from the command line comes from web tools more often than from diffusers.
  const given = { ...pictureOptions(options), promptSyntax: "weighted" as const }
  const seeds = seedsOf(options)
  await drawOrders(
    prompts.flatMap((prompt) => seeds.map((seed) => ({ ...given, prompt, seed }))),
    options,
    seeds.length,
    verbFor,
  )
}

/** Each picture of a prompt has a seed of its own, which makes it again alone. */
function seedsOf({ images = 1, seed }: GenerateOptions): (number | bigint)[] {
  if (!Number.isInteger(images) || images < 1)
    throw new UsageError(`--images is ${images}; give a whole number from 1 on.`)
  const first = seed ?? BigInt(crypto.getRandomValues(new Uint32Array(1))[0])
  return Array.from({ length: images }, (_, i) => numberWhereExact((first + BigInt(i)) % 2n ** 64n))
}
