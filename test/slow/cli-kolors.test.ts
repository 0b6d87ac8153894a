import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import sharp from "sharp"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { decodePng } from "../../src/formats/png.ts"
import { readPngText } from "../../src/formats/png-text.ts"
import { firstKolors } from "../unit/first-kolors.ts"
import { goldenFolder } from "../unit/golden.ts"
import { commit, namesBelow } from "../unit/hub-fixture.ts"
import type { HubServer } from "../unit/hub-server.ts"
import { filesIn, startHub } from "../unit/hub-server.ts"
import { kolorsAdapter } from "../unit/kolors-adapter.ts"
import { kolorsInpainting } from "../unit/kolors-inpainting.ts"
import type { Given } from "./processes/installed-limn.ts"
import { limnInAFolder } from "./processes/limn-in-a-folder.ts"

const kolors = "Kwai-Kolors/Kolors-diffusers"
const plus = "Kwai-Kolors/Kolors-IP-Adapter-Plus"
const canny = "Kwai-Kolors/Kolors-ControlNet-Canny"
const inpainting = "Kwai-Kolors/Kolors-Inpainting"

/** Kolors-Inpainting lies as Kolors was first published. */
const into = firstKolors()
rmSync(join(into, "unet"), { recursive: true })
cpSync(join(kolorsInpainting(), "unet"), join(into, "unet"), { recursive: true })
const adapter = kolorsAdapter()
const besides = {
  ".gitattributes": Buffer.from("x"),
  "README.md": Buffer.from("# Kolors"),
  "config.json": Buffer.from("{}"),
  "model_index.json": Buffer.from("{}"),
  "image_encoder/vocab.json": Buffer.from("{}"),
  "image_encoder/preprocessor_config.json": Buffer.from("{}"),
}

const at = limnInAFolder()
let hub: HubServer
beforeEach(async () => {
  hub = await startHub({
    [kolors]: { files: filesIn(join(goldenFolder, "pipeline-kolors/model")), commit },
    [plus]: { files: { ...besides, ...filesIn(adapter) }, commit },
    [canny]: { files: filesIn(join(goldenFolder, "kolors-controls/controlnet")), commit },
    [inpainting]: { files: filesIn(into), commit },
  })
  const photo = Buffer.from(Array.from({ length: 60 * 50 * 3 }, (_, i) => (i * i) % 251))
  const jpeg = await sharp(photo, { raw: { width: 50, height: 60, channels: 3 } })
    .jpeg()
    .toBuffer()
  for (const name of ["person.jpg", "style.jpg"]) writeFileSync(join(at.folder, name), jpeg)
})
afterEach(() => hub.close())

const limn = (args: readonly string[], given: Given = {}) => {
  const env = {
    HF_HOME: join(at.folder, "home"),
    HF_ENDPOINT: hub.endpoint,
    HF_TOKEN: "",
    HF_HUB_OFFLINE: "",
    ...given.env,
  }
  return at.limn([...args, "--device", "cpu", "--out", "a.png"], { ...given, env })
}
const settings = () => JSON.parse(readPngText(readFileSync(join(at.folder, "a.png"))).limn)
const pixels = () => decodePng(readFileSync(join(at.folder, "a.png"))).data
const drawn = { code: 0, stdout: "a.png\n", stderr: "" }

describe("limn draws by the names of Kolors' repositories", () => {
  it("from text", async () => {
    const prompt = '一张瓢虫的照片，微距，变焦，高质量，电影，拿着一个牌子，写着"可图"'
    expect(await limn([prompt, "--model", kolors, "--seed", "66", "--noise", "cuda"])).toEqual(drawn)
    expect(settings()).toMatchObject({
      model: kolors,
      prompt,
      steps: 50,
      guidanceScale: 5,
      seed: 66,
      noise: "cuda",
    })
  })

  it("after a person's picture, fetching the adapter and its encoder and nothing else", async () => {
    const prompt = "穿着黑色T恤衫，上面中文绿色大字写着“可图”"
    const command = [prompt, "--model", kolors, "--ip-adapter", plus, "--ip-image", "person.jpg"]
    expect(await limn([...command, "--seed", "66"])).toEqual(drawn)
    expect(settings()).toMatchObject({
      prompt,
      steps: 50,
      guidanceScale: 5,
      width: 64,
      height: 64,
      ipAdapters: [{ name: "ip_adapter_plus_general", scale: 0.5 }],
    })
    const snapshot = join(at.folder, `home/hub/models--${plus.replace("/", "--")}/snapshots/${commit}`)
    expect(namesBelow(snapshot)).toEqual([
      "image_encoder/config.json",
      "image_encoder/pytorch_model.bin",
      "ip_adapter_plus_general.bin",
    ])
    const seen = pixels()
    // Not at all by the picture, it is another; and both need no Hub any more.
    const offline = { env: { HF_HUB_OFFLINE: "1" } }
    expect(await limn([...command, "--seed", "66", "--ip-scale", "0"], offline)).toEqual(drawn)
    expect(pixels()).not.toEqual(seen)
  })

  it("into a picture, by the repository's defaults", async () => {
    const mask = Buffer.alloc(60 * 50 * 3)
    mask.fill(255, 0, 30 * 50 * 3)
    const png = await sharp(mask, { raw: { width: 50, height: 60, channels: 3 } })
      .png()
      .toBuffer()
    writeFileSync(join(at.folder, "mask.png"), png)
    const command = ["一只猫", "--model", inpainting, "--seed", "603", "--steps", "3"]
    expect(await limn([...command, "--image", "person.jpg", "--mask", "mask.png"])).toEqual(drawn)
    expect(settings()).toMatchObject({ strength: 0.9999, guidanceScale: 7.5, width: 48, height: 56 })
    expect(await limn(command)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/draws into pictures, so give it one and a mask .*--image and --mask/),
    })
  })

  it("with the defaults that depend on what is asked", async () => {
    const over = ["一只猫", "--model", kolors, "--seed", "1", "--image", "person.jpg"]
    expect(await limn([...over, "--steps", "4"])).toEqual(drawn)
    expect(settings()).toMatchObject({ strength: 0.3 })
    const control = ["--control", canny, "--control-image", "canny:person.jpg", "--steps", "2"]
    expect(await limn([...over, ...control])).toEqual(drawn)
    expect(settings()).toMatchObject({ strength: 0.8, controls: [{ scale: 0.8, start: 0, end: 1 }] })
    const edm = ["--scheduler", "edm-dpmsolver-multistep"]
    const { code, stderr } = await limn(["一只猫", "--model", kolors, ...edm])
    expect(code).toBe(0)
    expect(stderr).toMatch(
      /^limn: EDMDPMSolverMultistepScheduler walks noise levels that .* was not trained on/,
    )
    expect(settings()).toMatchObject({ steps: 25 })
  })

  it("and refuses an adapter of another model, naming both sizes", async () => {
    const other = join(goldenFolder, "ip-adapter/whole.safetensors")
    copyFileSync(other, join(at.folder, "other.safetensors"))
    cpSync(join(goldenFolder, "ip-adapter/image_encoder"), join(at.folder, "image_encoder"), {
      recursive: true,
    })
    const ended = await limn([
      "a cat",
      "--model",
      kolors,
      "--ip-adapter",
      "other.safetensors",
      "--ip-image",
      "person.jpg",
    ])
    expect(ended).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/is for a model that reads text 24 wide, and this one reads 20; give/),
    })
    expect(existsSync(join(at.folder, "a.png"))).toBe(false)
  })
})

describe("limn's recipes", () => {
  const given = ["--model", kolors, "--ip-adapter", plus, "--steps", "2", "--seed", "5"]

  it("fuse an identity and a style", async () => {
    const looked = ["--identity", "person.jpg", "--style", "style.jpg"]
    expect(await limn(["fuse", "a cat", ...given, ...looked, "--ip-scale", "0.7"])).toEqual(drawn)
    expect(settings().ipAdapters).toEqual([
      {
        name: "ip_adapter_plus_general",
        scale: { down: 0.7, mid: 0.7, up: { block_0: [0.7, 0], block_1: 0.7 } },
      },
      { name: "ip_adapter_plus_general", scale: { up: { block_0: [0, 1] } } },
    ])
    expect(await limn(["fuse", "a cat", ...given, "--style", "style.jpg"])).toMatchObject({
      code: 2,
      stderr: "limn: Fusion needs --identity, --style and an --ip-adapter (see limn fuse --help).\n",
    })
  })

  it("restyle a portrait", async () => {
    const command = ["restyle", "person.jpg", "an oil painting", ...given, "--control", canny]
    expect(await limn(command)).toEqual(drawn)
    expect(settings()).toMatchObject({
      prompt: "an oil painting",
      strength: 0.8,
      controls: [{ name: "Kolors-ControlNet-Canny", scale: 0.8, end: 0.9 }],
      ipAdapters: [{ name: "ip_adapter_plus_general", scale: 0.5 }],
    })
    const more = ["--style", "style.jpg", "--strength", "1", "--ip-scale", "0.2", "--control-end", "1"]
    expect(await limn([...command, ...more])).toEqual(drawn)
    expect(settings()).toMatchObject({ strength: 1, controls: [{ end: 1 }], ipAdapters: [{ scale: 0.2 }] })
    expect(await limn(["restyle", "person.jpg", "a cat", ...given])).toMatchObject({
      code: 2,
      stderr: "limn: Restyling needs one --control and an --ip-adapter (see limn restyle --help).\n",
    })
  })
})
