import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"
import type { Shape } from "../../src/ground/shape.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { ipAdapterLayout, textAttentions } from "../../src/models/ip-adapter.ts"
import type { IpAdapterOptions } from "../../src/pipelines/ip-adapter.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { withTensorFile } from "../../src/pipelines/tensor-file.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenTensors, relativeDifference } from "../unit/golden.ts"
import { kolorsUnet } from "../unit/published-configs.ts"

const placeOf = (path: string) => join(goldenFolder, "face-id", path)
const encoderOf = (path: string) => join(goldenFolder, "ip-adapter", path)
const faceModels = [join(goldenFolder, "faces/models/detector.onnx"), placeOf("recogniser.onnx")]
const given = goldenTensors("face-id/pictures.safetensors")

function picture(n: number) {
  const { shape, data } = given[`${n}.picture`]
  return pixels(shape[1], shape[0], 3, data as Uint8Array)
}

let folder: string
let kolors: Model
let sd: Model
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "limn-face-id-"))
  // Named as published, since the name says what its tensors do not.
  cpSync(placeOf("ip-adapter-faceid-plus.safetensors"), join(folder, "ip-adapter-faceid-plusv2.safetensors"))
  kolors = await load(join(goldenFolder, "pipeline-kolors/model"), { device: "cpu", threads: 1 })
  sd = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
})
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await Promise.all([kolors.close(), sd.close()])
})

describe("faces become the tokens of their adapters", () => {
  const golden = goldenTensors("face-id/tokens.safetensors")

  test.each<[string, () => Model, () => string, string | undefined]>([
    ["kolors", () => kolors, () => placeOf("ipa-faceid-plus.bin"), "kolors/image_encoder"],
    ["faceid", () => sd, () => placeOf("ip-adapter-faceid.bin"), undefined],
    ["plus", () => sd, () => placeOf("ip-adapter-faceid-plus.safetensors"), "image_encoder"],
    ["plusv2", () => sd, () => join(folder, "ip-adapter-faceid-plusv2.safetensors"), "image_encoder"],
  ])("%s", async (name, model, path, encoder) => {
    const imageEncoder = encoder === undefined ? undefined : encoderOf(encoder)
    const adapted = await model().with(ipAdapter(path(), { faceModels, imageEncoder }))
    const [{ readTokens, scale }] = adapted.ipAdapters
    expect(scale).toBe(name === "kolors" ? 0.8 : 1)
    const first = picture(0)
    const images = [undefined, { image: first }, { image: first, face: 1 }, { image: picture(1), face: 1 }]
    const tokens = await readTokens(images)
    // Of the second face some values round to their neighbours when it is turned upright, as skimage's float32 has it.
    for (const [i, [key, bound]] of [
      ["none", 1e-4] as const,
      ["0.0", 1e-4] as const,
      ["0.1", 1e-3] as const,
      ["1.1", 1e-4] as const,
    ].entries())
      expect(relativeDifference(tokens[i], golden[`${name}.${key}`]), key).toBeLessThan(bound)
    expect((await readTokens([{ image: first, face: 1 }]))[0]).toBe(tokens[2])
    await adapted.close()
  })
})

describe("an adapter that reads faces", () => {
  const kolorsFile = placeOf("ipa-faceid-plus.bin")

  test("is found with its image encoder as Kolors publishes both, in either format", async () => {
    const place = join(folder, "kolors")
    cpSync(encoderOf("kolors/image_encoder"), join(place, "clip-vit-large-patch14-336"), { recursive: true })
    symlinkSync(kolorsFile, join(place, "ipa-faceid-plus.bin"))
    const published = await kolors.with(ipAdapter(place, { faceModels }))
    const flat = await withTensorFile(kolorsFile, (file) =>
      Object.fromEntries([...file.tensors.keys()].map((name) => [name, file.read(name)])),
    )
    await writeFile(join(place, "ipa-faceid-plus.safetensors"), encodeSafetensors(flat))
    const other = await kolors.with(ipAdapter(place, { faceModels }))
    expect(other.ipAdapters[0].path).toMatch(/\.safetensors$/)
    const images = [{ image: picture(1) }]
    expect(await other.ipAdapters[0].readTokens(images)).toEqual(
      await published.ipAdapters[0].readTokens(images),
    )
    await Promise.all([published.close(), other.close()])
  })

  test("has the published sizes in Kolors", () => {
    const config = unetConfig(kolorsUnet, "kolors")
    const shapes = new Map<string, { shape: Shape }>()
    const give = (name: string, ...shape: number[]) => shapes.set(`image_proj.${name}`, { shape })
    give("proj.0.weight", 1024, 512)
    give("proj.2.weight", 24576, 1024)
    give("norm.weight", 4096)
    give("perceiver_resampler.proj_in.weight", 4096, 1024)
    for (let n = 0; n < 4; n++) give(`perceiver_resampler.layers.${n}.0.to_q.weight`, 4096, 4096)
    give("perceiver_resampler.layers.0.1.1.weight", 16384, 4096)
    for (const { number } of textAttentions(config))
      shapes.set(`adapter_modules.${number}.to_k_ip.weight`, { shape: [] })
    const { projection, specs, attentionPart } = ipAdapterLayout("ipa-faceid-plus.bin", shapes, config)
    expect(projection).toEqual({
      kind: "face",
      width: 4096,
      tokens: 6,
      embedding: 512,
      hidden: 1024,
      structure: { features: 1024, hidden: 4096, heads: 64, layers: 4, widening: 4 },
      shortcut: true,
    })
    expect(attentionPart).toBe("adapter_modules")
    expect(specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(1_192_903_680)
  })

  test.each<[string, () => Model, string, IpAdapterOptions, typeof LimnError, RegExp]>([
    [
      "face models",
      () => kolors,
      kolorsFile,
      { imageEncoder: encoderOf("kolors/image_encoder") },
      UsageError,
      /reads faces; say where insightface's networks are, as faceModels/,
    ],
    [
      "an image encoder",
      () => kolors,
      kolorsFile,
      { faceModels },
      LimnError,
      /has no image encoder at image_encoder/,
    ],
    [
      "an image encoder of its width",
      () => kolors,
      kolorsFile,
      { faceModels, imageEncoder: encoderOf("image_encoder") },
      FormatError,
      /reads pictures 20 wide, and the image encoder at .* gives 24/,
    ],
    [
      "a model that it was made for",
      () => sd,
      kolorsFile,
      { faceModels, imageEncoder: encoderOf("kolors/image_encoder") },
      FormatError,
      /attentions to the text|text \d+ wide/,
    ],
    [
      "faces to read",
      () => sd,
      encoderOf("whole.safetensors"),
      { faceModels },
      UsageError,
      /looks at whole pictures, not at faces; leave faceModels away/,
    ],
  ])("is refused without %s", async (_, model, path, options, kind, message) => {
    const failing = model().with(ipAdapter(path, options))
    await expect(failing).rejects.toThrow(kind)
    await expect(failing).rejects.toThrow(message)
  })

  test("says what is wrong with the faces that it is given", async () => {
    const faceId = await sd.with(ipAdapter(placeOf("ip-adapter-faceid.bin"), { faceModels }))
    const draw = (model: Model, image: object) =>
      textToImage(model, { prompt: "a cat", steps: 1, seed: 1, ipImages: [image as { image: never }] })
    const black = pixels(8, 8, 3, new Uint8Array(192))
    await expect(draw(faceId, { image: black })).rejects.toThrow(/No face was found in a picture/)
    await expect(draw(faceId, { image: picture(0), face: 5000 })).rejects.toThrow(/Face 5000 of a picture/)
    await expect(draw(faceId, { image: picture(0), face: -1 })).rejects.toThrow(/face is -1; give a whole/)
    const whole = await sd.with(ipAdapter(encoderOf("whole.safetensors")))
    await expect(draw(whole, { image: picture(0), face: 1 })).rejects.toThrow(
      /looks at whole pictures, and face 1/,
    )
    const wide = [faceModels[0], join(goldenFolder, "faces/models/recogniser.onnx")]
    const other = await sd.with(ipAdapter(placeOf("ip-adapter-faceid.bin"), { faceModels: wide }))
    await expect(draw(other, { image: picture(0) })).rejects.toThrow(
      /recognise faces by 512 numbers, and the IP-Adapter reads 16/,
    )
    await Promise.all([faceId.close(), whole.close(), other.close()])
  })
})
