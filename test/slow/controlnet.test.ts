import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { compVisControlNetName } from "../../src/models/compvis-names.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import type { Control } from "../../src/pipelines/controls.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, tensorsIn } from "../unit/golden.ts"
import { commit, hubFixture, namesBelow } from "../unit/hub-fixture.ts"
import { filesIn } from "../unit/hub-server.ts"

const nets = join(goldenFolder, "controlnet")
const ink = join(goldenFolder, "lora/ink.safetensors")

let folder: string
let model: Model
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "limn-controlnet-"))
  model = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
})
afterAll(async () => {
  await model.close()
  rmSync(folder, { recursive: true })
})

/** Noise to follow, 40 pixels wide and 24 high, the same for the same seed. */
function noise(seed: number): Control["image"] {
  const draws = cpuGenerator(seed).rand([24 * 40 * 3]).data
  return pixels(
    40,
    24,
    3,
    Uint8Array.from(draws, (u) => 256 * u),
  )
}

const drawing = { prompt: "a paper boat", steps: 2, seed: 7, guidanceScale: 3 }

/** Draws with a model, and closes it. */
async function drawn(by: Model, controls?: readonly Control[]): Promise<Uint8Array> {
  try {
    return (await textToImage(by, { ...drawing, width: 40, height: 24, controls })).image.pixels.data
  } finally {
    await by.close()
  }
}

/** The tensors of a ControlNet under other names, in a file. */
function written(name: string, from: string, rename: (name: string) => string): string {
  const tensors = tensorsIn(join(nets, from, "diffusion_pytorch_model.safetensors"))
  const renamed = new Map(
    Object.entries(tensors).map(([key, tensor]): [string, Tensor] => [rename(key), tensor]),
  )
  const path = join(folder, name)
  writeFileSync(path, Buffer.concat(encodeSafetensors(renamed)))
  return path
}

describe("a ControlNet", () => {
  const followed = [{ image: noise(1) }]
  const names = { layersPerBlock: [1, 1, 1], conditioningWidths: [4, 6, 6, 8] }

  it("changes the picture by what it is shown, and the model that it was given to not at all", async () => {
    const plain = await drawn(await model.with())
    const first = await drawn(await model.with(controlNet(join(nets, "sd1"))), followed)
    const other = await drawn(await model.with(controlNet(join(nets, "sd1"))), [{ image: noise(2) }])
    expect(first).not.toEqual(plain)
    expect(other).not.toEqual(first)
    expect(await drawn(await model.with())).toEqual(plain)
  })

  it("changes nothing at a scale of 0", async () => {
    const none = [{ image: noise(1), scale: 0 }]
    expect(await drawn(await model.with(controlNet(join(nets, "sd1"))), none)).toEqual(
      await drawn(await model.with()),
    )
  })

  it.each([
    ["its authors' names", (key: string) => `control_model.${compVisControlNetName(key, names)}`],
    ["its authors' names alone", (key: string) => compVisControlNetName(key, names)],
    ["diffusers' names", (key: string) => key],
  ])("is read from a file with %s", async (_, rename) => {
    const file = written("net.safetensors", "sd1", rename)
    const expected = await drawn(await model.with(controlNet(join(nets, "sd1"))), followed)
    expect(await drawn(await model.with(controlNet(file)), followed)).toEqual(expected)
  })

  it("is pooled where its file says shuffle, which has no configuration", async () => {
    const file = written("control_v11e_sd15_shuffle.safetensors", "sd1-pooled", (key) => key)
    const expected = await drawn(await model.with(controlNet(join(nets, "sd1-pooled"))), followed)
    expect(await drawn(await model.with(controlNet(file)), followed)).toEqual(expected)
  })

  it("stands beside another, and beside a LoRA, whichever came first", async () => {
    const [a, b] = ["sd1", "sd1-other"].map((name) => controlNet(join(nets, name)))
    const first = await model.with(a, lora(ink))
    const both = await first.with(b)
    expect(both.controlNets.map(({ name }) => name)).toEqual(["sd1", "sd1-other"])
    await first.close()
    const controls = [{ image: noise(1) }, { image: noise(2) }]
    const later = await model.with(lora(ink))
    expect(await drawn(both, controls)).toEqual(await drawn(await later.with(a, b), controls))
    await later.close()
  })

  it("is told in the settings, without the picture, whose size the result has", async () => {
    const given = await model.with(controlNet(`${join(nets, "sd1")}/`))
    const { settings, image } = await textToImage(given, {
      ...drawing,
      controls: [{ image: noise(1), scale: 0.5, end: 0.9 }],
      guessMode: true,
    })
    await given.close()
    expect(settings).toMatchObject({
      controls: [{ name: "sd1", scale: 0.5, start: 0, end: 0.9 }],
      guessMode: true,
      width: 40,
      height: 24,
    })
    expect(JSON.parse(image.text.limn).controls).toEqual(settings.controls)
  })
})

describe("what cannot be is refused", () => {
  const draw = async (controls: readonly Control[] | undefined, more = {}) => {
    const given = await model.with(controlNet(join(nets, "sd1")))
    try {
      return await textToImage(given, { ...drawing, ...more, controls })
    } finally {
      await given.close()
    }
  }
  const image = noise(1)

  it.each<[string, readonly Control[] | undefined, RegExp]>([
    ["no picture", undefined, /Each ControlNet of model needs a control, in order; they number 1 and 0/],
    ["two pictures", [{ image }, { image }], /they number 1 and 2/],
    ["a scale that is no number", [{ image, scale: Number.NaN }], /scale of a control is NaN/],
    ["an end before the start", [{ image, start: 0.6, end: 0.4 }], /from 0.6 to 0.4/],
    ["shares beyond 1", [{ image, end: 1.2 }], /from 0 to 1.2/],
    ["shares below 0", [{ image, start: -0.1 }], /from -0.1 to 1/],
  ])("%s", async (_, controls, message) => {
    const drawing = draw(controls)
    await expect(drawing).rejects.toThrow(UsageError)
    await expect(drawing).rejects.toThrow(message)
  })

  it("guessing without a ControlNet", async () => {
    await expect(textToImage(model, { ...drawing, guessMode: true })).rejects.toThrow(UsageError)
  })

  it("a path with nothing there", async () => {
    for (const path of ["nowhere/at/all", "net.pth", join(folder, "net")])
      await expect(model.with(controlNet(path))).rejects.toThrow(UsageError)
  })

  it("a ControlNet for another model", async () => {
    await expect(model.with(controlNet(join(nets, "xl")))).rejects.toThrow(FormatError)
    await expect(model.with(controlNet(join(nets, "xl")))).rejects.toThrow(
      /its width of the text \d+ should be 24/,
    )
    await expect(model.with(controlNet(join(nets, "pooled-text")))).rejects.toThrow(
      /is a ControlNet for another model/,
    )
    const file = written("xl.safetensors", "xl", (key) => key)
    await expect(model.with(controlNet(file))).rejects.toThrow(/give one that is made for this model/)
  })

  it("something else", async () => {
    await expect(model.with(controlNet(ink))).rejects.toThrow(/looks like a LoRA.*; give a ControlNet/)
    const strange = join(folder, "strange.safetensors")
    writeFileSync(strange, Buffer.concat(encodeSafetensors(new Map([["a", float32([1], [1])]]))))
    await expect(model.with(controlNet(strange))).rejects.toThrow(/holds no ControlNet; give a ControlNet/)
    await expect(model.with(controlNet(folder))).rejects.toThrow(LimnError)
  })
})

describe("of a ControlNet on the Hub is fetched", () => {
  const on = hubFixture()
  beforeEach(() => {
    const files = {
      ...filesIn(join(nets, "sd1")),
      "README.md": Buffer.from("#"),
      "images/cat.png": Buffer.from("x"),
    }
    on.hub.repos["org/tiny"] = { files, commit }
  })

  it("its configuration and weights, and nothing else", async () => {
    const given = await model.with(controlNet("org/tiny"))
    expect(given.controlNets[0].name).toBe("tiny")
    expect(namesBelow(join(on.repo, "snapshots", commit))).toEqual([
      "config.json",
      "diffusion_pytorch_model.safetensors",
    ])
    await given.close()
  })

  it("nothing, where it is none", async () => {
    on.hub.repos["org/tiny"] = { files: { "README.md": Buffer.from("#") }, commit }
    await expect(model.with(controlNet("org/tiny"))).rejects.toThrow(/org\/tiny has no config.json/)
  })
})
