import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TextToImageOptions } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson } from "../unit/golden.ts"

/** The pipeline's tiny model with a safety checker, and of which pictures it withholds some. */
export interface CheckedModel {
  readonly folder: string
  readonly given: TextToImageOptions
  readonly withheld: readonly boolean[]
  remove(): void
}

/** Writes such a model into a folder of its own. */
export function checkedModel(): CheckedModel {
  const folder = mkdtempSync(join(tmpdir(), "limn-checked-"))
  cpSync(join(goldenFolder, "pipeline/model"), folder, { recursive: true })
  for (const part of ["safety_checker", "feature_extractor"])
    cpSync(join(goldenFolder, "safety-checker/pipeline", part), join(folder, part), { recursive: true })
  const index = join(folder, "model_index.json")
  const listed = { safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"] }
  writeFileSync(index, JSON.stringify({ ...JSON.parse(readFileSync(index, "utf8")), ...listed }))
  const { withheld, ...given } = goldenJson<TextToImageOptions & { withheld: boolean[] }>(
    "safety-checker/pipeline/case.json",
  )
  return { folder, given, withheld, remove: () => rmSync(folder, { recursive: true }) }
}
