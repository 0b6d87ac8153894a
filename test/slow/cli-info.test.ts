import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { inOneFile, tinyModel, tinyStableDiffusionXl } from "../unit/tiny-stable-diffusion.ts"
import { torchCheckpoint } from "../unit/torch-writer.ts"
import { limnInAFolder, tiny } from "./processes/limn-in-a-folder.ts"

const at = limnInAFolder()
const { limn, draw } = at

describe("limn info", () => {
  const json = async (path: string) => JSON.parse((await limn(["info", path, "--json"])).stdout)

  it("knows a model's parts", async () => {
    const { code, stdout } = await limn(["info", tiny])
    expect(code).toBe(0)
    expect(stdout).toMatch(/unet +UNet2DConditionModel +97,380 +float32 +390 kB/)
    expect(stdout).toMatch(/in all +152,115/)
    expect(await json(tiny)).toMatchObject({
      kind: "model",
      parameters: 152_115,
      class: "StableDiffusionPipeline",
    })
    expect(await json(join(tiny, "vae"))).toMatchObject({ kind: "component", class: "AutoencoderKL" })
  })

  it("knows a safetensors file's tensors", async () => {
    const path = join(tiny, "unet", "diffusion_pytorch_model.safetensors")
    expect((await limn(["info", path])).stdout).toMatch(/conv_in\.weight +F32 +\[8, 4, 3, 3\]/)
    const { tensors, metadata } = await json(path)
    expect(tensors).toHaveLength(324)
    expect(tensors[0]).toEqual({
      name: expect.any(String),
      dtype: "F32",
      shape: expect.any(Array),
      offset: expect.any(Number),
      bytes: expect.any(Number),
    })
    expect(metadata).toEqual({ format: "pt" })
  })

  it("knows the parts of a checkpoint in one file, which draws too", async () => {
    writeFileSync(join(at.folder, "model.ckpt"), torchCheckpoint(inOneFile(tinyModel(1))))
    const { stdout } = await limn(["info", "model.ckpt"])
    expect(stdout).toMatch(/^model\.ckpt\nA PyTorch file of [\d.]+ MB: 9\d\d tensors, .*\(float32, int64\)\n/)
    expect(stdout).toContain("Looks like a Stable Diffusion 1.x model, which limn runs\n")
    expect(stdout).toMatch(/unet +[\d,]+ +float32 +[\d.]+ MB\nvae .*\ntext encoder /)
    expect(await json("model.ckpt")).toMatchObject({
      kind: "pytorch",
      family: "a Stable Diffusion 1.x model",
    })
    const size = ["--width", "64", "--height", "64"]
    expect(await draw(["a cat", "--model", "model.ckpt", "--seed", "1", ...size])).toEqual({
      code: 0,
      stdout: "cat-1.png\n",
      stderr: "",
    })
  })

  it("knows SDXL in one file, and that it runs", async () => {
    const xl = inOneFile(tinyModel(1, tinyStableDiffusionXl))
    writeFileSync(join(at.folder, "xl.safetensors"), Buffer.concat(encodeSafetensors(xl)))
    const { stdout } = await limn(["info", "xl.safetensors"])
    expect(stdout).toContain("Looks like a Stable Diffusion XL model, which limn runs\n")
    expect(stdout).toMatch(/unet .*\nvae .*\ntext encoder .*\nsecond text encoder /)
    expect(await json("xl.safetensors")).toMatchObject({ family: "a Stable Diffusion XL model", runs: true })
  })

  it("knows how a picture was made, and tells a program everything that makes it again", async () => {
    await draw(["一颗红心", "--seed", "7", "--scheduler", "DPM++ 2M Karras", "--out", "heart.png"])
    const { stdout } = await limn(["info", "heart.png"])
    expect(stdout).toMatch(/^heart\.png\nA PNG picture of 64x64 pixels/)
    expect(stdout).toMatch(/prompt +一颗红心\n/)
    expect(stdout).toMatch(/scheduler +DPMSolverMultistepScheduler\n/)
    const { settings } = await json("heart.png")
    expect(settings).toMatchObject({ prompt: "一颗红心", seed: 7, steps: 2, width: 64, height: 64 })
  })
})
