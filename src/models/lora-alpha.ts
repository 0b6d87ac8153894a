import { FormatError } from "../ground/errors.ts"
import { z } from "../ground/schema.ts"

/** What PEFT keeps beside its factors of how they were trained, as far as it counts afterwards. */
const peftConfig = z.object({
  lora_alpha: z.number(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  use_rslora: z.boolean().nullish(),
})

/** Where PEFT's configuration may be found. */
export interface PeftSource {
  readonly path: string
  readonly metadata: Readonly<Record<string, string>>
  /** adapter_config.json, parsed and not yet believed, where there is one. */
  readonly adapterConfig?: unknown
}

/**
 * alpha / rank of the layers of one part, for a file that has no tensors for alpha: what PEFT's configuration says, that
 * diffusers keeps in the metadata and PEFT in a file of its own, else 1.
 * Throws a FormatError where there is one that cannot be read.
 */
export function peftFactors(source: PeftSource, part: string): (layer: string, rank: number) => number {
  const given = source.adapterConfig ?? keptByDiffusers(source, part)
  if (given === undefined) return () => 1
  const { data, error } = peftConfig.safeParse(given)
  if (error) throw broken(source)
  const { lora_alpha, alpha_pattern, use_rslora } = data
  const patterns = Object.entries(alpha_pattern ?? {})
  return (layer, rank) => {
    // As PEFT's get_pattern_key: a pattern is the end of the name.
    const found = patterns.find(([pattern]) => layer === pattern || layer.endsWith(`.${pattern}`))
    return (found?.[1] ?? lora_alpha) / (use_rslora ? Math.sqrt(rank) : rank)
  }
}

/** The configuration of one part: in the metadata its fields bear its name. */
function keptByDiffusers(source: PeftSource, part: string): unknown {
  const json = source.metadata.lora_adapter_metadata
  if (json === undefined) return undefined
  let all: unknown
  try {
    all = JSON.parse(json)
  } catch {
    throw broken(source)
  }
  const own = Object.entries(all ?? {}).filter(([key]) => key.startsWith(`${part}.`))
  if (own.length === 0) return undefined
  return Object.fromEntries(own.map(([key, value]) => [key.slice(part.length + 1), value]))
}

function broken({ path }: PeftSource): FormatError {
  return new FormatError(`PEFT's configuration of ${path} cannot be read; fetch it again.`)
}
