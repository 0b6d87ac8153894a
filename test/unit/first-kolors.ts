import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { goldenFolder } from "./golden.ts"

/** The tiny Kolors as its first publishers laid it out, in a folder that goes away after the tests. */
export function firstKolors(): string {
  const folder = mkdtempSync(join(tmpdir(), "limn-kolors-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  cpSync(join(goldenFolder, "pipeline-kolors/original"), folder, { recursive: true })
  for (const part of ["unet", "vae", "scheduler"])
    cpSync(join(goldenFolder, "pipeline-kolors/model", part), join(folder, part), { recursive: true })
  return folder
}
