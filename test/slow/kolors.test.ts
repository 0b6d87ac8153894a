import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { pixels } from "../../src/ground/image.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { inpaint } from "../../src/pipelines/inpaint.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"
import { kolorsInpainting } from "../unit/kolors-inpainting.ts"
import type { Case } from "./same-pictures.ts"
import { expectSamePictures } from "./same-pictures.ts"

const folder = join(goldenFolder, "pipeline-kolors/model")
const options = { device: "cpu", threads: 1 } as const
let model: Model

describe.each([
  ["nine", kolorsInpainting()],
  ["pipeline-kolors", folder],
])("inpainting against that of Kolors' repository, model %s", (name, place) => {
  beforeAll(async () => {
    model = await load(place, options)
  })
  afterAll(() => model.close())
  const cases = goldenJson<Case[]>("kolors-inpaint/cases.json").filter((one) => one.model === name)
  test.each(cases)("$name", async (given) => {
    await expectSamePictures(model, given, goldenTensors(`kolors-inpaint/${given.name}.safetensors`))
  })

  test("takes the repository's strength and guidance where none is given", async () => {
    const [image, mask] = [0, 255].map((value) => pixels(64, 64, 3, new Uint8Array(64 * 64 * 3).fill(value)))
    const { settings } = await inpaint(model, { prompt: "a cat", image, mask, steps: 2, seed: 1 })
    expect(settings).toMatchObject({ strength: 0.9999, guidanceScale: 7.5 })
  })
})

describe("Kolors", () => {
  beforeAll(async () => {
    model = await load(folder, options)
  })
  afterAll(() => model.close())
  const {
    scheduler: _,
    negativePrompt: __,
    controls: ___,
    ...given
  } = goldenJson<Case[]>("pipeline-kolors/cases.json").find(({ name }) => name === "edm")!

  test.each(["edm-dpmsolver-multistep", "EDMDPMSolverMultistepScheduler", "DPM++ 2M EDM"])(
    "draws by %s as by EDM's DPM-Solver in diffusers",
    async (scheduler) => {
      const { latents, warnings } = await textToImage(model, { ...given, scheduler })
      expect(warnings).toEqual([expect.stringMatching(/walks noise levels that model was not trained on/)])
      const golden = goldenTensors("pipeline-kolors/edm.safetensors")
      expect(relativeDifference(latents, golden["latents.3"])).toBeLessThan(1e-3)
    },
  )

  test("leaves a picture as little as diffusers' pipeline for it does, unless told otherwise", async () => {
    const image = pixels(64, 64, 3, new Uint8Array(64 * 64 * 3).fill(200))
    const { settings } = await imageToImage(model, { prompt: "a cat", image, steps: 4, guidanceScale: 1 })
    expect(settings.strength).toBe(0.3)
  })

  test("walks 25 steps by EDM's DPM-Solver unless told otherwise", async () => {
    const steps: number[] = []
    const { settings } = await textToImage(model, {
      prompt: "a cat",
      scheduler: "edm-dpmsolver-multistep",
      guidanceScale: 1,
      onStep: ({ step }) => void steps.push(step),
    })
    expect(settings.steps).toBe(25)
    expect(steps).toHaveLength(25)
  })
})
