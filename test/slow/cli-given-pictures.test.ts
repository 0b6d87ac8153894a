import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import sharp from "sharp"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { decodePng, encodePng } from "../../src/formats/png.ts"
import { readPngText } from "../../src/formats/png-text.ts"
import { pixels } from "../../src/ground/image.ts"
import { openDepthAnnotator } from "../../src/pipelines/depth.ts"
import { openPoseAnnotator } from "../../src/pipelines/pose.ts"
import { goldenTensors } from "../unit/golden.ts"
import type { InstalledLimn } from "./processes/installed-limn.ts"
import { installLimn } from "./processes/installed-limn.ts"

/** A whole Stable Diffusion folder, tiny and of random weights. */
const tiny = join(import.meta.dirname, "../golden/pipeline/model")
const [ink, wash] = ["ink", "wash"].map((name) =>
  join(import.meta.dirname, `../golden/lora/${name}.safetensors`),
)

const whole = join(import.meta.dirname, "../golden/ip-adapter/whole.safetensors")
const faceId = join(import.meta.dirname, "../golden/face-id/ip-adapter-faceid.bin")
const faceModels = ["faces/models/detector.onnx", "face-id/recogniser.onnx"].flatMap((path) => [
  "--face-models",
  join(import.meta.dirname, "../golden", path),
])

let installed: InstalledLimn
beforeAll(() => {
  installed = installLimn()
}, 300_000)
afterAll(() => installed.remove())

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "limn-cli-"))
})
afterEach(() => rmSync(folder, { recursive: true }))

const limn = (args: readonly string[]) => installed.run(args, { cwd: folder })
const draw = (args: readonly string[]) => limn(["--model", tiny, "--steps", "2", "--device", "cpu", ...args])

describe("limn draws over a picture", () => {
  const first = () => draw(["a red heart", "--seed", "7"])

  it("so that more strength leaves it further", async () => {
    await first()
    const far: number[] = []
    for (const strength of ["0.5", "1"]) {
      const ended = await draw([
        "a cat",
        "--image",
        "red-heart-7.png",
        "--strength",
        strength,
        "--seed",
        "1",
        "--out",
        "over.png",
      ])
      expect(ended).toEqual({ code: 0, stdout: "over.png\n", stderr: "" })
      far.push(distance("red-heart-7.png", "over.png"))
    }
    expect(far[0]).toBeLessThan(far[1])
  })

  it("and into the white parts of a mask, a JPEG too", async () => {
    await first()
    const white = Buffer.alloc(64 * 64 * 3)
    white.fill(255, 0, 32 * 64 * 3)
    const mask = sharp(white, { raw: { width: 64, height: 64, channels: 3 } })
    writeFileSync(join(folder, "mask.jpg"), await mask.jpeg().toBuffer())
    const ended = await draw(["a cat", "--image", "red-heart-7.png", "--mask", "mask.jpg", "--seed", "1"])
    expect(ended).toEqual({ code: 0, stdout: "cat-1.png\n", stderr: "" })
    expect(readPngText(readFileSync(join(folder, "cat-1.png"))).limn).toContain('"strength":1')
  })

  /** Mean difference of two pictures' bytes. */
  function distance(...names: [string, string]): number {
    const [a, b] = names.map((name) => decodePng(readFileSync(join(folder, name))).data)
    return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length
  }
})

describe("limn draws what ControlNets say", () => {
  const [net, other] = ["sd1", "sd1-other"].map((name) =>
    join(import.meta.dirname, "../golden/controlnet", name),
  )
  const bytesOf = (...names: string[]) => names.map((name) => readFileSync(join(folder, name)))

  it("of a picture or of its edges, and again by what a picture's file says", async () => {
    await draw(["a red heart", "--seed", "7", "--width", "72"])
    const control = ["--control", net, "--control", other, "--control-image", "red-heart-7.png"]
    const follow = [...control, "--control-image", "canny:red-heart-7.png"]
    const how = [
      "--control-scale",
      "0.8",
      "--control-start",
      "0",
      "--control-start",
      ".5",
      "--control-end",
      "1",
    ]
    const ended = await draw(["a cat", "--seed", "1", ...follow, ...how])
    expect(ended).toEqual({ code: 0, stdout: "cat-1.png\n", stderr: "" })
    expect(JSON.parse(readPngText(bytesOf("cat-1.png")[0]).limn)).toMatchObject({
      // As large as the first picture, and no larger than the model's own.
      width: 64,
      height: 56,
      controls: [
        { name: "sd1", scale: 0.8, start: 0, end: 1 },
        { name: "sd1-other", scale: 0.8, start: 0.5, end: 1 },
      ],
    })
    const again = ["again", "cat-1.png", "--model", tiny, "--device", "cpu"]
    expect((await limn([...again, ...follow, "--out", "again.png"])).code).toBe(0)
    const [first, same] = bytesOf("cat-1.png", "again.png")
    expect(same.equals(first)).toBe(true)
    await limn([...again, ...control, "--control-image", "red-heart-7.png", "--out", "whole.png"])
    expect(decodePng(bytesOf("whole.png")[0]).data).not.toEqual(decodePng(first).data)
    expect(await limn(again)).toMatchObject({
      code: 2,
      stderr:
        'limn: cat-1.png was drawn with the ControlNet "sd1"; say where that is with --control, and what it followed with --control-image.\n',
    })
  })

  it("of the depth of a picture, by a network that is named", async () => {
    const network = join(import.meta.dirname, "../golden/depth/fixed.onnx")
    await draw(["a red heart", "--seed", "7"])
    const control = (image: string) => ["a cat", "--seed", "1", "--control", net, "--control-image", image]
    const told = await draw([...control("depth:red-heart-7.png"), "--depth-model", network])
    expect(told).toEqual({ code: 0, stdout: "cat-1.png\n", stderr: "" })
    const annotator = await openDepthAnnotator(network)
    const map = await annotator.map(decodePng(bytesOf("red-heart-7.png")[0]))
    await annotator.close()
    writeFileSync(join(folder, "depth.png"), encodePng(map))
    await draw([...control("depth.png"), "--out", "map.png"])
    expect(decodePng(bytesOf("map.png")[0])).toEqual(decodePng(bytesOf("cat-1.png")[0]))
  })

  it("of the people in a picture, by networks that are named, or says that there are none", async () => {
    const networks = join(import.meta.dirname, "../golden/pose/models")
    const { shape, data } = goldenTensors("pose/found.safetensors")["2.picture"]
    const people = pixels(shape[1], shape[0], 3, data as Uint8Array)
    const nobody = pixels(64, 64, 3, new Uint8Array(3 * 64 * 64))
    writeFileSync(join(folder, "people.png"), encodePng(people))
    writeFileSync(join(folder, "nobody.png"), encodePng(nobody))
    const size = { width: 96, height: 64 }
    const control = (image: string) => [
      "a cat",
      "--seed",
      "1",
      "--width",
      "96",
      "--height",
      "64",
      "--control",
      net,
      "--control-image",
      image,
    ]
    const found = await draw([...control("pose:people.png"), "--pose-models", networks])
    expect(found).toEqual({ code: 0, stdout: "cat-1.png\n", stderr: "" })
    const annotator = await openPoseAnnotator(networks)
    writeFileSync(join(folder, "pose.png"), encodePng(await annotator.map(people, size)))
    await annotator.close()
    await draw([...control("pose.png"), "--out", "map.png"])
    expect(decodePng(bytesOf("map.png")[0])).toEqual(decodePng(bytesOf("cat-1.png")[0]))
    expect(await draw([...control("pose:nobody.png"), "--pose-models", networks])).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "limn: Nobody was found in a picture whose pose is to be followed; give one that shows a person, not too small.\n",
    })
  })

  it.each([
    [
      ["--control", net, "--control-image", "pose:red-heart-7.png"],
      "Poses are found by DWPose's networks; say where they are with --pose-models, as the folder of yolox_l.onnx and dw-ll_ucoco_384.onnx.",
    ],
    [
      ["--pose-models", "dwpose"],
      "--pose-models find the pose of a picture; give one with --control-image pose:FILE.",
    ],
    [
      ["--control", net, "--control-image", "depth:red-heart-7.png"],
      "Depth is told by a network; say where it is with --depth-model, as depth_anything_v2_vits.onnx.",
    ],
    [
      ["--depth-model", "depth.onnx"],
      "--depth-model tells the depth of a picture; give one with --control-image depth:FILE.",
    ],
    [["--control", net], "Each --control needs a --control-image of its own; they number 1 and 0."],
    [
      ["--control-scale", "1"],
      "--control-scale goes once for all of --control, or once for each; they number 1 and 0.",
    ],
  ])("unless they do not go together: %j", async (args, message) => {
    expect(await draw(["a cat", ...args])).toEqual({ code: 2, stdout: "", stderr: `limn: ${message}\n` })
  })
})

describe("limn again", () => {
  const again = (args: readonly string[]) => limn(["again", "--model", tiny, "--device", "cpu", ...args])

  it("draws the same bytes from what a picture's file says", async () => {
    await draw([
      "a red heart, 红心",
      "--seed",
      "18446744073709551615",
      "--negative",
      "blue",
      "--width",
      "72",
      "--scheduler",
      "Euler a",
    ])
    const [name] = readdirSync(folder)
    expect(await again([name, "--out", "again.png"])).toEqual({ code: 0, stdout: "again.png\n", stderr: "" })
    const [old, made] = [name, "again.png"].map((path) => readFileSync(join(folder, path)))
    expect(made.equals(old)).toBe(true)
  })

  it("draws the same variation of a seed, and others", async () => {
    const varied = ["--variation-of", "18446744073709551615", "--variation-strength", "0.4"]
    await draw(["a cat", "--seed", "7", "--images", "2", ...varied])
    expect((await again(["cat-8.png", "--out", "again.png"])).stdout).toBe("again.png\n")
    expect((await again(["cat-8.png", "--seed", "7", "--out", "seven.png"])).code).toBe(0)
    await again(["cat-8.png", "--variation-strength", "0", "--out", "base.png"])
    const [seven, eight, ...made] = ["cat-7.png", "cat-8.png", "seven.png", "again.png", "base.png"].map(
      (path) => readFileSync(join(folder, path)),
    )
    expect(made[0].equals(seven)).toBe(true)
    expect(made[1].equals(eight)).toBe(true)
    await draw(["a cat", "--seed", "18446744073709551615", "--out", "own.png"])
    const [base, own] = [made[2], readFileSync(join(folder, "own.png"))]
    expect(decodePng(base).data).toEqual(decodePng(own).data)
  })

  it("draws in two stages, and around a picture, as its file says", async () => {
    await draw([
      "a cat",
      "--seed",
      "7",
      "--upscale",
      "1.5",
      "--upscale-strength",
      "0.6",
      "--upscale-steps",
      "5",
    ])
    expect((await again(["cat-7.png", "--out", "again.png"])).code).toBe(0)
    const around = ["--image", "cat-7.png", "--right", "20", "--top", "9"]
    const drawn = await draw(["a dog", "--seed", "1", ...around])
    expect(drawn).toEqual({ code: 0, stdout: "dog-1.png\n", stderr: "" })
    expect((await again(["dog-1.png", "--image", "cat-7.png", "--out", "around.png"])).code).toBe(0)
    const [cat, cats, dog, dogs] = ["cat-7.png", "again.png", "dog-1.png", "around.png"].map((path) =>
      readFileSync(join(folder, path)),
    )
    expect(cats.equals(cat)).toBe(true)
    expect(dogs.equals(dog)).toBe(true)
    expect(decodePng(cat)).toMatchObject({ width: 96, height: 96 })
    expect(decodePng(dog)).toMatchObject({ width: 116, height: 105 })
    expect((await again(["dog-1.png"])).stderr).toBe(
      "limn: dog-1.png was drawn over another picture; give that with --image.\n",
    )
  })

  it.each([
    [["--top", "8"], "--top says how to draw over a picture; give that with --image."],
    [["--upscale-steps", "8"], "--upscale-steps says how to enlarge pictures; give --upscale too."],
  ])("refuses %j alone", async (args, message) => {
    expect(await draw(["a cat", ...args])).toEqual({ code: 2, stdout: "", stderr: `limn: ${message}\n` })
  })

  it("decodes by the same decoder where that is given, and else says so", async () => {
    const decoder = ["--decoder", join(import.meta.dirname, "../golden/taesd/random")]
    await draw(["a cat", "--seed", "7", ...decoder])
    expect(await again(["cat-7.png", ...decoder])).toMatchObject({ stdout: "cat-7-2.png\n", stderr: "" })
    expect(await again(["cat-7.png"])).toMatchObject({
      code: 0,
      stdout: "cat-7-3.png\n",
      stderr: "limn: cat-7.png was decoded by random; to have that again, say where it is with --decoder.\n",
    })
    const [other, same, first] = ["-3", "-2", ""].map((n) => readFileSync(join(folder, `cat-7${n}.png`)))
    expect(same.equals(first)).toBe(true)
    expect(other.equals(first)).toBe(false)
  })

  it("changes what options change", async () => {
    await draw(["a cat", "--seed", "7"])
    expect((await again(["cat-7.png", "--seed", "8", "--steps", "3"])).stdout).toBe("cat-8.png\n")
    expect(JSON.parse(readPngText(readFileSync(join(folder, "cat-8.png"))).limn)).toMatchObject({
      seed: 8,
      steps: 3,
      prompt: "a cat",
    })
  })

  it("asks for what a file does not hold", async () => {
    await draw(["a cat", "--seed", "7"])
    expect(await limn(["again", "cat-7.png"])).toEqual({
      code: 2,
      stdout: "",
      stderr: 'limn: cat-7.png was made by the model "model"; say where that is with --model.\n',
    })
    await draw(["a dog", "--image", "cat-7.png", "--strength", "0.5", "--seed", "1"])
    expect((await again(["dog-1.png"])).stderr).toBe(
      "limn: dog-1.png was drawn over another picture; give that with --image.\n",
    )
  })

  it("wants the LoRAs that a picture was drawn with, and takes their scales from it", async () => {
    await draw(["a cat", "--seed", "7", "--out", "plain.png"])
    const drawn = await draw(["a cat", "--seed", "7", "--lora", `${ink}:0.8`, "--lora", `${wash}:-.5`])
    expect(drawn).toEqual({ code: 0, stdout: "cat-7.png\n", stderr: "" })
    expect((await again(["cat-7.png"])).stderr).toBe(
      'limn: cat-7.png was drawn with the LoRA "ink"; say where that is with --lora.\n',
    )
    expect((await again(["cat-7.png", "--lora", ink, "--lora", wash, "--out", "again.png"])).code).toBe(0)
    const [plain, old, made] = ["plain.png", "cat-7.png", "again.png"].map((path) =>
      readFileSync(join(folder, path)),
    )
    expect(made.equals(old)).toBe(true)
    expect(decodePng(old).data).not.toEqual(decodePng(plain).data)
  })

  it("wants the IP-Adapter that a picture was drawn with, and what it looked at", async () => {
    await draw(["a cat", "--seed", "7", "--out", "plain.png"])
    const seen = ["--ip-adapter", whole, "--ip-image", "plain.png"]
    const drawn = await draw(["a cat", "--seed", "7", ...seen, "--ip-scale", "0.6"])
    expect(drawn).toEqual({ code: 0, stdout: "cat-7.png\n", stderr: "" })
    expect((await again(["cat-7.png"])).stderr).toBe(
      'limn: cat-7.png was drawn with the IP-Adapter "whole"; say where that is with --ip-adapter, and what it looked at with --ip-image.\n',
    )
    expect((await again(["cat-7.png", ...seen, "--out", "again.png"])).code).toBe(0)
    const [plain, old, made] = ["plain.png", "cat-7.png", "again.png"].map((path) =>
      readFileSync(join(folder, path)),
    )
    expect(made.equals(old)).toBe(true)
    expect(decodePng(old).data).not.toEqual(decodePng(plain).data)
  })

  it("wants the adapter that read faces, and reads the same faces again", async () => {
    const { shape, data } = goldenTensors("face-id/pictures.safetensors")["0.picture"]
    const raw = { width: shape[1], height: shape[0], channels: 3 } as const
    await sharp(data as Uint8Array, { raw })
      .png()
      .toFile(join(folder, "face.png"))
    const seen = ["--face-id", faceId, "--face", "face.png", ...faceModels]
    const drawn = await draw(["a cat", "--seed", "7", ...seen, "--face-scale", "0.6", "--face-index", "1"])
    expect(drawn).toEqual({ code: 0, stdout: "cat-7.png\n", stderr: "" })
    const settings = JSON.parse(readPngText(readFileSync(join(folder, "cat-7.png"))).limn)
    expect(settings.ipAdapters).toEqual([{ name: "ip-adapter-faceid", scale: 0.6, faces: [1] }])
    expect((await again(["cat-7.png"])).stderr).toBe(
      'limn: cat-7.png was drawn with the FaceID adapter "ip-adapter-faceid"; say where that is with --face-id, whose faces it read with --face, and by which networks with --face-models.\n',
    )
    expect((await again(["cat-7.png", ...seen, "--out", "again.png"])).code).toBe(0)
    expect((await again(["cat-7.png", ...seen, "--face-index", "0", "--out", "other.png"])).code).toBe(0)
    const [old, made, other] = ["cat-7.png", "again.png", "other.png"].map((path) =>
      readFileSync(join(folder, path)),
    )
    expect(made.equals(old)).toBe(true)
    expect(other.equals(old)).toBe(false)
  })

  it.each([
    [
      ["--face", "a.png"],
      "limn: --face is for an IP-Adapter that reads faces; say where that is with --face-id.\n",
    ],
    [
      ["--face-scale", "0"],
      "limn: --face-scale is for an IP-Adapter that reads faces; say where that is with --face-id.\n",
    ],
    [["--face-id", faceId], "limn: A FaceID adapter draws after faces; give a picture of one with --face.\n"],
    [
      ["--face-id", faceId, "--face", "a.png"],
      "limn: Faces are read by insightface's networks; say where they are with --face-models, as the folder antelopev2 or buffalo_l.\n",
    ],
    [
      ["--ip-image", "a.png"],
      "limn: --ip-image is for an IP-Adapter; say where that is with --ip-adapter.\n",
    ],
    [["--ip-scale", "0"], "limn: --ip-scale is for an IP-Adapter; say where that is with --ip-adapter.\n"],
    [["--ip-adapter", whole], "limn: An IP-Adapter draws after pictures; give one with --ip-image.\n"],
  ])("refuses %j alone", async (args, stderr) => {
    expect(await draw(["a cat", ...args])).toEqual({ code: 2, stdout: "", stderr })
  })
})
