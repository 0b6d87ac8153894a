import { absolutePath, exists } from "#platform"
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
 * The weight files of a folder: the wanted variant, else the most exact there is.
 * Throws a LimnError where there is none, a FormatError where an index is broken.
 */
export async function findWeights(folder: string, variant?: string): Promise<readonly WeightFile[]> {
  for (const wanted of new Set([variant, ...variants]))
    for (const stem of stems) {
      const named = wanted === undefined ? stem : `${stem}.${wanted}`
      const single = absolutePath(folder, `${named}.safetensors`)
      if (await exists(single)) return [{ path: single }]
      // diffusers once wrote the variant after "index", as in Kolors.
      const after = wanted === undefined ? "" : `.${wanted}`
      for (const name of [`${named}.safetensors.index.json`, `${stem}.safetensors.index${after}.json`]) {
        const index = absolutePath(folder, name)
        if (await exists(index)) return shards(folder, index)
      }
    }
  for (const stem of [...stems, "pytorch_model"])
    for (const pickled of [`${stem}.bin`, `${stem}.bin.index.json`])
      if (await exists(absolutePath(folder, pickled)))
        throw new LimnError(
          `${folder} holds its weights as ${pickled}, which limn cannot read yet; get its safetensors files.`,
        )
  throw new LimnError(
    `${folder} holds no weights; limn looks for ${stems.map((stem) => `${stem}.safetensors`).join(" or ")}.`,
  )
}

async function shards(folder: string, index: string): Promise<WeightFile[]> {
  const json = await readJson(index)
  const map = isRecord(json) ? json.weight_map : undefined
  if (!isRecord(map)) throw new FormatError(`${index} has no "weight_map"; fetch it again.`)
  const expected = new Map<string, string[]>()
  for (const [tensor, file] of Object.entries(map)) {
    // A plain name, so that an index cannot reach files outside its folder.
    if (typeof file !== "string" || !/^[^/\\:]+\.safetensors$/.test(file))
      throw new FormatError(
        `${index} says that ${tensor} is in ${JSON.stringify(file)}, which is no name of a safetensors file.`,
      )
    const held = expected.get(file) ?? []
    held.push(tensor)
    expected.set(file, held)
  }
  return [...expected].map(([file, tensors]) => ({ path: absolutePath(folder, file), expected: tensors }))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
