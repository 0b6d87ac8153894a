import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { pixels } from "../../src/ground/image.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"

interface Case {
  name: string
  model: string
  adapter: string
  file: string
  scale: number
  pictures: [picture: number, face: number][]
  scheduler: { class: string; config: Record<string, unknown> }
  prompt: string
  negativePrompt: string
  height: number
  width: number
  steps: number
  guidanceScale: number
  imagesPerPrompt: number
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
    const ipImages = one.pictures.map(([n, face]) => {
      const { shape, data } = given[`${n}.picture`]
      return { image: pixels(shape[1], shape[0], 3, data as Uint8Array), face }
    })
    const { prompt, negativePrompt, height, width, steps, guidanceScale, imagesPerPrompt } = one
    const scheduler = { ...one.scheduler.config, _class_name: one.scheduler.class }
    const sizes = { height, width, steps, guidanceScale, imagesPerPrompt }
    for (const seed of [51, 52]) {
      const asked = { ...sizes, prompt, negativePrompt, scheduler, ipImages, seed }
      const { latents, images } = await textToImage(model, asked)
      expect(relativeDifference(latents, golden[`latents.${seed}`])).toBeLessThan(1e-3)
      const expected = golden[`images.${seed}`].data
      const values = images.flatMap((image) => Array.from(image.pixels.data))
      expect(values).toHaveLength(expected.length)
      const near = values.filter((value, i) => Math.abs(value - Number(expected[i])) <= 1)
      expect(near.length / expected.length).toBeGreaterThanOrEqual(0.999)
    }
    await Promise.all([model.close(), base.close()])
  })
})
