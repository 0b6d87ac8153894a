import { absolutePath, exists } from "#platform"
import { FormatError } from "../ground/errors.ts"
import { z } from "../ground/schema.ts"
import { readJson } from "./files.ts"
import type { PreviewFactors } from "./preview-factors.ts"

/** How a model likes to be run where the caller does not say. */
export interface ModelDefaults {
  /** Steps from noise to picture. */
  readonly steps: number
  readonly guidanceScale: number
  /** Its latents as colours, where its family's are others. */
  readonly preview?: PreviewFactors
}

const schema = z
  .strictObject({
    steps: z.int().positive(),
    guidanceScale: z.number(),
    preview: z.array(z.tuple([z.number(), z.number(), z.number()])),
  })
  .partial()

/**
 * What a model's folder recommends in `limn.json`, such as {"steps": 20, "guidanceScale": 4}, where it has one; a file
 * of its own, because diffusers complains of keys that it does not know; `usual` where it says nothing. Throws a
 * FormatError where it is wrong.
 */
export async function readDefaults(folder: string, usual: ModelDefaults): Promise<ModelDefaults> {
  const path = absolutePath(folder, "limn.json")
  if (!(await exists(path))) return usual
  const result = schema.safeParse(await readJson(path))
  if (result.success) return { ...usual, ...result.data }
  const [issue] = result.error.issues
  const where = issue.path.length > 0 ? ` in "${issue.path.join(".")}"` : ""
  throw new FormatError(`${path} is wrong${where}: ${issue.message}; mend it or take it away.`)
}
