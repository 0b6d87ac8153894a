import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"
import type { TextCase } from "./same-pictures.ts"
import { expectNear, pictureOf, textOptions } from "./same-pictures.ts"

interface Case extends TextCase {
  model: string
  adapter: string
  file: string
  scale: number
  pictures: [picture: number, face: number][]
}

const cases = goldenJson<Case[]>("face-id/cases.json")
const given = goldenTensors("face-id/pictures.safetensors")
const faceModels = [
  join(goldenFolder, "faces/models/detector.onnx"),
  join(goldenFolder, "face-id/recogniser.onnx"),
]
const folder = mkdtempSync(join(tmpdir(), "limn-face-id-"))
afterAll(() => rmSync(folder, { recursive: true }))

/** A file of an adapter, under the name that says which version it is. */
function fileOf({ adapter, file }: Case): string {
  const path = join(folder, `${adapter}-${file.replace("plus", adapter === "plusv2" ? "plusv2" : "plus")}`)
  cpSync(join(goldenFolder, "face-id", file), path)
  return path
}

describe("faces, against diffusers with insightface", () => {
  test.each(cases)("$name", async (one) => {
    const golden = goldenTensors(`face-id/case-${one.name}.safetensors`)
    const fromKolors = one.adapter === "kolors"
    const base = await load(join(goldenFolder, one.model, "model"), { device: "cpu", threads: 1 })
    const encoder = fromKolors ? "ip-adapter/kolors/image_encoder" : "ip-adapter/image_encoder"
    const options = { faceModels, scale: one.scale, imageEncoder: join(goldenFolder, encoder) }
    const model = await base.with(ipAdapter(fileOf(one), options))
    const ipImages = one.pictures.map(([n, face]) => ({ image: pictureOf(given[`${n}.picture`]), face }))
    for (const seed of [51, 52]) {
      const { latents, images } = await textToImage(model, { ...textOptions(one), ipImages, seed })
      expect(relativeDifference(latents, golden[`latents.${seed}`])).toBeLessThan(1e-3)
      expectNear(images, golden[`images.${seed}`])
    }
    await Promise.all([model.close(), base.close()])
  })
})
