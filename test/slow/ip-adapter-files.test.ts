import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { denoise } from "../../src/pipelines/denoise.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import type { IpImages } from "../../src/pipelines/ip-images.ts"
import { encodeIpImages } from "../../src/pipelines/ip-images.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { encodePrompt } from "../../src/pipelines/prompts.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { schedulerFromConfig } from "../../src/schedulers/scheduler.ts"
import { goldenFolder, goldenTensors } from "../unit/golden.ts"
import { commit, hubFixture, namesBelow } from "../unit/hub-fixture.ts"
import { filesIn } from "../unit/hub-server.ts"

const adapters = join(goldenFolder, "ip-adapter")
const grey = pixels(5, 4, 3, new Uint8Array(60).fill(128))

let folder: string
let model: Model
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "limn-ip-"))
  model = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
})
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await model.close()
})

/** A folder of files beside the image encoder, and of none where `encoder` is undefined. */
function folderOf(files: Readonly<Record<string, Uint8Array>>, encoder?: string): string {
  const place = mkdtempSync(join(folder, "a-"))
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(place, name), bytes)
  if (encoder !== undefined)
    cpSync(join(adapters, encoder), join(place, "image_encoder"), { recursive: true })
  return place
}

const whole = readFileSync(join(adapters, "whole.safetensors"))
const plus = readFileSync(join(adapters, "plus.bin"))

describe("an IP-Adapter is found", () => {
  const fileOf = async (path: string, imageEncoder?: string) => {
    const adapted = await model.with(ipAdapter(path, { imageEncoder }))
    await adapted.close()
    return adapted.ipAdapters[0].path
  }

  it("in its folder, as safetensors where it is there in both formats", async () => {
    const place = folderOf({ "a.safetensors": whole, "a.bin": plus, "README.md": whole }, "image_encoder")
    expect(await fileOf(place)).toBe(join(place, "a.safetensors"))
    expect(await fileOf(`${place}/`)).toBe(join(place, "a.safetensors"))
    expect(await fileOf(join(place, "a.bin"))).toBe(join(place, "a.bin"))
  })

  it("with an image encoder that lies elsewhere", async () => {
    const place = folderOf({ "a.safetensors": whole })
    expect(await fileOf(place, join(adapters, "image_encoder"))).toBe(join(place, "a.safetensors"))
  })

  it.each<[string, () => string, typeof LimnError, RegExp]>([
    ["nothing", () => join(folder, "nowhere"), UsageError, /There is no IP-Adapter at .*nowhere/],
    ["no file of the Hub", () => "no/where.safetensors", UsageError, /There is no IP-Adapter at no\/where/],
    ["no weights", () => folderOf({}, "image_encoder"), UsageError, /holds no file of weights/],
    [
      "several",
      () => folderOf({ "a.safetensors": whole, "b.bin": plus }, "image_encoder"),
      UsageError,
      /several IP-Adapters; say which, as .*a-\w+\/a\.safetensors\. There are a\.safetensors, b\.bin\./,
    ],
    [
      "no image encoder",
      () => folderOf({ "a.safetensors": whole }),
      LimnError,
      /no image encoder at .*image_encoder; say/,
    ],
    [
      "another image encoder",
      () => folderOf({ "a.safetensors": whole }, "xl/image_encoder"),
      FormatError,
      /reads pictures 20 wide, and the image encoder at .* gives 30/,
    ],
    [
      "half a file",
      () => folderOf({ "a.bin": plus.subarray(0, 9000) }, "image_encoder"),
      FormatError,
      /a\.bin/,
    ],
    [
      "an adapter of another model",
      () => join(adapters, "xl/ip-adapter.safetensors"),
      FormatError,
      /reads text 40 wide, and this one reads 24/,
    ],
    [
      "an adapter with a tensor too few",
      () => {
        const { "ip_adapter.3.to_v_ip.weight": _, ...rest } = goldenTensors("ip-adapter/whole.safetensors")
        return folderOf({ "a.safetensors": Buffer.concat(encodeSafetensors(rest)) }, "image_encoder")
      },
      FormatError,
      /lacks ip_adapter\.3\.to_v_ip\.weight/,
    ],
  ])("but %s is refused", async (_, path, kind, message) => {
    const failing = model.with(ipAdapter(path()))
    await expect(failing).rejects.toThrow(kind)
    await expect(failing).rejects.toThrow(message)
  })
})

describe("what IP-Adapters look at", () => {
  const first = ipAdapter(join(adapters, "whole.safetensors"))
  const second = ipAdapter(join(adapters, "plus.bin"))
  const draw = (one: Model, ipImages?: IpImages) =>
    textToImage(one, { prompt: "a cat", steps: 1, seed: 3, ipImages })

  it("must be there, and for adapters that are", async () => {
    const [one, two] = [await model.with(first), await model.with(first, second)]
    for (const failing of [draw(one), draw(one, []), draw(two, [grey]), draw(two, [grey, []])]) {
      await expect(failing).rejects.toThrow(UsageError)
      await expect(failing).rejects.toThrow(/The IP-Adapter .* has no picture to look at/)
    }
    await expect(draw(model, [grey])).rejects.toThrow("has no IP-Adapter to look at ipImages")
    await expect(draw(two, [grey, grey, grey])).rejects.toThrow("has 2 IP-Adapters, and ipImages are for 3")
    await Promise.all([one.close(), two.close()])
  })

  it("counts as much as the scale says, which is fed", async () => {
    const one = await model.with(first)
    const none = await one.with(ipAdapter(first.path, { scale: 0 }))
    expect(none.ipAdapters.map(({ scale }) => scale)).toEqual([0])
    const [plain, seen, unseen] = [await draw(model), await draw(one, [grey]), await draw(none, [grey])]
    expect(unseen.images[0].pixels).toEqual(plain.images[0].pixels)
    expect(seen.images[0].pixels).not.toEqual(plain.images[0].pixels)
    // The graphs were described once: those of the first go on where it ends.
    expect(unseen.timings.load).toBeLessThan(seen.timings.load)
    await one.close()
    expect((await draw(none, [grey])).images[0].pixels).toEqual(plain.images[0].pixels)
    await none.close()
  })

  it("is encoded for walks of the caller's own", async () => {
    const one = await model.with(first)
    const { latents, settings } = await textToImage(one, {
      prompt: "a cat",
      steps: 2,
      seed: 3,
      guidanceScale: 4,
      ipImages: [grey],
    })
    const walk = async (seen: Partial<Awaited<ReturnType<typeof encodeIpImages>>>) => {
      const scheduler = schedulerFromConfig(settings.scheduler)
      scheduler.setTimesteps(2)
      const random = cpuGenerator(3)
      const [text, none] = [await encodePrompt(one, "a cat"), await encodePrompt(one, "")]
      const start = random.randn(latents.shape)
      const steps = denoise(one, {
        latents: float32(
          latents.shape,
          start.data.map((v) => v * scheduler.initNoiseSigma),
        ),
        conditioning: { ...text, ...seen.conditioning },
        negative: { ...none, ...seen.negative },
        guidanceScale: 4,
        scheduler,
        random,
      })
      let last = start
      for await (const step of steps) last = step.latents
      return last
    }
    const drawing = { width: 64, height: 64, count: 1, guided: true }
    expect(await walk(await encodeIpImages(one, [grey], drawing))).toEqual(latents)
    await expect(walk({})).rejects.toThrow(/has no picture to look at; give one as ipImages \(for denoise/)
    await one.close()
  })

  it("counts everywhere without a mask, and nowhere with a black one", async () => {
    const one = await model.with(first)
    const mask = (value: number) => pixels(1, 1, 3, new Uint8Array(3).fill(value))
    const at = async (...ipImages: IpImages) => (await draw(one, ipImages)).images[0].pixels
    const [plain, seen] = [(await draw(model)).images[0].pixels, await at(grey)]
    expect(await at({ image: grey, mask: mask(0) })).toEqual(plain)
    expect(await at({ image: grey, mask: mask(255) })).toEqual(seen)
    // Of two, the one without a mask counts everywhere too.
    const red = pixels(1, 1, 3, new Uint8Array([255, 0, 0]))
    expect(await at({ image: red, mask: mask(0) }, grey)).toEqual(seen)
    await one.close()
  })
})

describe("of an IP-Adapter on the Hub is fetched", () => {
  const on = hubFixture()
  const small = (path: string) => filesIn(join(adapters, path))
  const under = (place: string, files: Record<string, Uint8Array>) =>
    Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`${place}/${name}`, bytes]))
  const encoder = small("image_encoder")
  const serve = (files: Record<string, Uint8Array>) => {
    on.hub.repos["org/tiny"] = { files, commit }
  }
  const fetched = async (path: string, imageEncoder?: string) => {
    const adapted = await model.with(ipAdapter(path, { imageEncoder }))
    await adapted.close()
    return namesBelow(join(on.repo, "snapshots", commit))
  }
  const other = Buffer.from("other")
  const ofEncoder = ["config.json", "model.safetensors"]

  it("one of a repo that holds one, with its image encoder", async () => {
    serve({
      "config.json": other,
      "a.bin": plus,
      ...under("image_encoder", { ...encoder, "flax.msgpack": other }),
    })
    expect(await fetched("org/tiny")).toEqual(["a.bin", ...ofEncoder.map((name) => `image_encoder/${name}`)])
  })

  it("the one that is named, with the encoder beside it or another", async () => {
    const both = { "models/a.safetensors": whole, "xl/b.safetensors": whole, "models/c.bin": plus }
    const encoders = {
      ...under("models/image_encoder", encoder),
      ...under("xl/image_encoder", small("xl/image_encoder")),
    }
    serve({ ...both, ...encoders })
    await expect(fetched("org/tiny/models")).rejects.toThrow(
      "org/tiny/models holds several IP-Adapters; say which, as org/tiny/models/a.safetensors.",
    )
    const ofModels = ofEncoder.map((name) => `models/image_encoder/${name}`)
    expect(await fetched("org/tiny/models/a.safetensors")).toEqual(["models/a.safetensors", ...ofModels])
    expect(await fetched("org/tiny/xl", "models/image_encoder")).toEqual([
      "models/a.safetensors",
      ...ofModels,
      "xl/b.safetensors",
    ])
    await expect(fetched("org/tiny/nowhere.bin", "models/image_encoder")).rejects.toThrow(
      "org/tiny has no nowhere.bin; give",
    )
  })

  const faceId = (name: string) => readFileSync(join(goldenFolder, "face-id", name))
  const faceModels = [
    join(goldenFolder, "faces/models/detector.onnx"),
    join(goldenFolder, "face-id/recogniser.onnx"),
  ]

  it("Kolors' for faces, with the encoder under the name that it has there", async () => {
    const clip = "clip-vit-large-patch14-336"
    const kolors = await load(join(goldenFolder, "pipeline-kolors/model"), { device: "cpu", threads: 1 })
    serve({
      "ipa-faceid-plus.bin": faceId("ipa-faceid-plus.bin"),
      ...under(clip, small("kolors/image_encoder")),
    })
    await (await kolors.with(ipAdapter("org/tiny", { faceModels }))).close()
    await kolors.close()
    expect(namesBelow(join(on.repo, "snapshots", commit))).toEqual([
      `${clip}/config.json`,
      `${clip}/pytorch_model.bin`,
      "ipa-faceid-plus.bin",
    ])
  })

  it("another for faces, which looks at no pictures, without an encoder", async () => {
    serve({ "ip-adapter-faceid.bin": faceId("ip-adapter-faceid.bin") })
    await (await model.with(ipAdapter("org/tiny", { faceModels }))).close()
    expect(namesBelow(join(on.repo, "snapshots", commit))).toEqual(["ip-adapter-faceid.bin"])
  })

  it("without its encoder where that is here", async () => {
    serve({ "a.bin": plus })
    await expect(fetched("org/tiny")).rejects.toThrow(
      "The IP-Adapter org/tiny has no image encoder at image_encoder",
    )
    expect(await fetched("org/tiny", join(adapters, "image_encoder"))).toEqual(["a.bin"])
  })
})
