import { z } from "zod"
import { FormatError } from "../ground/errors.ts"

/** What PEFT keeps beside its factors of how they were trained, as far as it counts afterwards. */
const peftConfig = z.object({
  lora_alpha: z.number(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  use_rslora: z.boolean().nullish(),
})

/** Where diffusers keeps the configurations of all parts, their names before those of the fields. */
const METADATA = "lora_adapter_metadata"

/**
 * alpha / rank of a layer of a file that has no tensor for alpha: what PEFT's configuration in its metadata says, else 1.
 * Throws a FormatError where that is there and cannot be read.
 */
export function alphaOf(
  { path, metadata }: { readonly path: string; readonly metadata: Readonly<Record<string, string>> },
  part: string,
  layer: string,
  rank: number,
): number {
  const json = metadata[METADATA]
  if (json === undefined) return 1
  let config: z.infer<typeof peftConfig>
  try {
    const fields = Object.entries(JSON.parse(json) as object)
    const own = fields.filter(([key]) => key.startsWith(`${part}.`))
    if (own.length === 0) return 1
    config = peftConfig.parse(
      Object.fromEntries(own.map(([key, value]) => [key.slice(part.length + 1), value])),
    )
  } catch {
    throw new FormatError(`The "${METADATA}" of ${path} is not what PEFT writes; fetch it again.`)
  }
  // As PEFT's get_pattern_key: a pattern is the end of the name.
  const [, alpha = config.lora_alpha] =
    Object.entries(config.alpha_pattern ?? {}).find(
      ([pattern]) => layer === pattern || layer.endsWith(`.${pattern}`),
    ) ?? []
  return alpha / (config.use_rslora ? Math.sqrt(rank) : rank)
}
