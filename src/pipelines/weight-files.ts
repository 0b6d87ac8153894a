import { absolutePath, exists } from "#platform"
import { FormatError, LimnError } from "../ground/errors.ts"
import { readJson } from "./files.ts"

/** A file of weights, and the tensors that an index says it holds. */
export interface WeightFile {
  readonly path: string
  readonly expected?: readonly string[]
}

/** What diffusers and transformers call the weights of one model, in the format that is taken first, and in the other. */
const formats = [
  { ending: "safetensors", stems: ["diffusion_pytorch_model", "model"] },
  { ending: "bin", stems: ["diffusion_pytorch_model", "pytorch_model"] },
] as const
/** Copies that checkpoints come in, the most exact first; `undefined` is the one without a suffix. */
const variants = [undefined, "fp16", "bf16"]

/**
 * The weight files of a folder: safetensors where there are any, else PyTorch's; of these the wanted variant, else the
 * most exact there is. `isThere` says of a path whether it is a file of the folder, and may bring it there.
 * Throws a LimnError where there is none, a FormatError where an index is broken.
 */
export async function findWeights(
  folder: string,
  variant?: string,
  isThere: (path: string) => Promise<boolean> = exists,
): Promise<readonly WeightFile[]> {
  for (const { ending, stems } of formats)
    for (const wanted of new Set([variant, ...variants]))
      for (const stem of stems) {
        const named = wanted === undefined ? stem : `${stem}.${wanted}`
        const single = absolutePath(folder, `${named}.${ending}`)
        if (await isThere(single)) return [{ path: single }]
        // diffusers once wrote the variant after "index", as in Kolors.
        const after = wanted === undefined ? "" : `.${wanted}`
        for (const name of [`${named}.${ending}.index.json`, `${stem}.${ending}.index${after}.json`]) {
          const index = absolutePath(folder, name)
          if (await isThere(index)) return shards(folder, index, ending, isThere)
        }
      }
  const names = formats.flatMap(({ ending, stems }) => stems.map((stem) => `${stem}.${ending}`))
  throw new LimnError(`${folder} holds no weights; limn looks for ${names.join(", ")}.`)
}

async function shards(
  folder: string,
  index: string,
  ending: string,
  isThere: (path: string) => Promise<boolean>,
): Promise<WeightFile[]> {
  const json = await readJson(index)
  const map = isRecord(json) ? json.weight_map : undefined
  if (!isRecord(map)) throw new FormatError(`${index} has no "weight_map"; fetch it again.`)
  const expected = new Map<string, string[]>()
  for (const [tensor, file] of Object.entries(map)) {
    // A plain name, so that an index cannot reach files outside its folder.
    if (typeof file !== "string" || !/^[^/\\:]+$/.test(file) || !file.endsWith(`.${ending}`))
      throw new FormatError(
        `${index} says that ${tensor} is in ${JSON.stringify(file)}, which is no name of a .${ending} file.`,
      )
    const held = expected.get(file) ?? []
    held.push(tensor)
    expected.set(file, held)
  }
  const files = [...expected].map(([file, tensors]) => ({
    path: absolutePath(folder, file),
    expected: tensors,
  }))
  for (const { path } of files)
    if (!(await isThere(path)))
      throw new LimnError(`${index} names ${path}, which is not there; fetch it too.`)
  return files
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
