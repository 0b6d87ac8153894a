import { describe, expect, it } from "vitest"
import { stableDiffusion, stableDiffusionXl } from "../../src/pipelines/family.ts"
import type { FolderFacts } from "../../src/pipelines/turbo.ts"
import { isTurboFolder } from "../../src/pipelines/turbo.ts"

const ancestral = { _class_name: "EulerAncestralDiscreteScheduler", timestep_spacing: "trailing" }
const euler = { ...ancestral, _class_name: "EulerDiscreteScheduler" }
const turbo: FolderFacts = {
  family: stableDiffusionXl,
  name: "3a96",
  index: { _class_name: "StableDiffusionXLPipeline" },
  unet: { sample_size: 64 },
  scheduler: ancestral,
}

describe("a folder is taken for a Turbo", () => {
  it.each([
    ["by SDXL-Turbo's own configuration", {}],
    ["by the name on the Hub", { name: "stabilityai/sdxl-turbo", unet: { sample_size: 128 } }],
    ["by the name that its U-Net remembers", { unet: { _name_or_path: "/cache/SDXL-Turbo/unet" } }],
    ["by the name of SD-Turbo", { family: stableDiffusion, name: "sd-turbo", scheduler: euler }],
    ["by the name in its index", { scheduler: euler, index: { _name_or_path: "stabilityai/sdxl-turbo" } }],
  ])("%s", (_, facts) => {
    expect(isTurboFolder({ ...turbo, ...facts })).toBe(true)
  })

  it.each([
    ["by large latents and no name", { unet: { sample_size: 128 } }],
    ["by another family's latents", { family: stableDiffusion }],
    ["by a name alone", { name: "dreams-turbo", scheduler: { ...euler, timestep_spacing: "leading" } }],
    ["where it says no spacing", { name: "sdxl-turbo", scheduler: { _class_name: ancestral._class_name } }],
    ["by another scheduler", { name: "x-turbo", scheduler: { ...euler, _class_name: "DDIMScheduler" } }],
    ["by trailing steps that are not ancestral", { scheduler: euler }],
    ["by files that are no objects", { scheduler: null, unet: 64, index: "turbo" }],
  ])("and not %s", (_, facts) => {
    expect(isTurboFolder({ ...turbo, ...facts })).toBe(false)
  })
})
