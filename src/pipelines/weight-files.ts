import { absolutePath } from "#platform"
import { FormatError, LimnError } from "../ground/errors.ts"
import { readJson } from "./files.ts"

/** A safetensors file, and the tensors that an index says it holds. */
export interface WeightFile {
  readonly path: string
  readonly expected?: readonly string[]
}

/** What diffusers and transformers call the weights of one model. */
const stems = ["diffusion_pytorch_model", "model"]
/** Copies that checkpoints come in, the most exact first; `undefined` is the one without a suffix. */
const variants = [undefined, "fp16", "bf16"]

/**
 * The weight files of a folder, whose entries are `names`: the wanted variant, else the most exact there is.
 * Throws a LimnError where there is none, a FormatError where an index is broken or names a file that is not there.
 */
export function findWeights(
  folder: string,
  names: readonly string[],
  variant?: string,
): readonly WeightFile[] {
  for (const wanted of new Set([variant, ...variants]))
    for (const stem of stems) {
      const single = `${dotted(stem, wanted)}.safetensors`
      if (names.includes(single)) return [{ path: absolutePath(folder, single) }]
      // diffusers writes the variant before the extension since 0.21, and wrote it after "index" until then.
      const index = [
        `${dotted(stem, wanted)}.safetensors.index.json`,
        `${dotted(`${stem}.safetensors.index`, wanted)}.json`,
      ].find((name) => names.includes(name))
      if (index !== undefined) return shards(folder, names, index)
    }
  const pickled = names.find((name) => /\.(bin|ckpt|pt|pth)$/.test(name))
  throw new LimnError(
    pickled === undefined
      ? `${folder} holds no weights; limn looks for ${stems.map((stem) => `${stem}.safetensors`).join(" or ")}.`
      : `${folder} holds its weights as ${pickled}, which limn cannot read yet; get the safetensors files of the model.`,
  )
}

function dotted(stem: string, variant: string | undefined): string {
  return variant === undefined ? stem : `${stem}.${variant}`
}

function shards(folder: string, names: readonly string[], index: string): WeightFile[] {
  const path = absolutePath(folder, index)
  const json = readJson(path)
  const map = isRecord(json) ? json.weight_map : undefined
  if (!isRecord(map)) throw new FormatError(`${path} has no "weight_map"; fetch it again.`)
  const expected = new Map<string, string[]>()
  for (const [tensor, file] of Object.entries(map)) {
    // A name from this very folder, so that an index cannot reach other files.
    if (typeof file !== "string" || !names.includes(file))
      throw new FormatError(
        `${path} says that ${tensor} is in ${JSON.stringify(file)}, which is not in the folder; fetch the file.`,
      )
    expected.set(file, [...(expected.get(file) ?? []), tensor])
  }
  return [...expected].map(([file, tensors]) => ({ path: absolutePath(folder, file), expected: tensors }))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
