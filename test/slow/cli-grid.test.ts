import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { decodePng } from "../../src/formats/png.ts"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { goldenFolder, tensorsIn } from "../unit/golden.ts"
import type { Given, InstalledLimn } from "./processes/installed-limn.ts"
import { installLimn } from "./processes/installed-limn.ts"

/** A whole Stable Diffusion folder, tiny and of random weights. */
const tiny = join(goldenFolder, "pipeline/model")

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

const limn = (args: readonly string[], given?: Given) => installed.run(args, { cwd: folder, ...given })
const draw = (args: readonly string[]) =>
  limn(["--model", tiny, "--steps", "2", "--device", "cpu", "--seed", "1", ...args])
const bytesOf = (name: string) => decodePng(readFileSync(join(folder, name)), name).data

describe("limn draws", () => {
  it("the prompts of a file, into a folder", async () => {
    writeFileSync(join(folder, "prompts.txt"), "a cat\n\n一颗红心\n")
    const ended = await draw(["--prompts", "prompts.txt", "--seed", "1", "--out", "drawn"])
    expect(ended).toEqual({ code: 0, stdout: "drawn/cat-1.png\ndrawn/一颗红心-1.png\n", stderr: "" })
    expect((await draw(["a dog", "--prompts", "prompts.txt"])).code).toBe(2)
  })

  it("the same picture in little memory", async () => {
    await draw(["a cat", "--seed", "1", "--out", "usual.png"])
    await draw(["a cat", "--seed", "1", "--out", "low.png", "--low-memory"])
    const [usual, low] = ["usual.png", "low.png"].map((name) => bytesOf(name))
    expect(low.filter((byte, i) => Math.abs(byte - usual[i]) > 1).length / low.length).toBeLessThan(0.001)
  })

  it("black where the model's safety checker withholds, unless told not to look", async () => {
    cpSync(tiny, join(folder, "model"), { recursive: true })
    for (const part of ["safety_checker", "feature_extractor"])
      cpSync(join(goldenFolder, "safety-checker/pipeline", part), join(folder, "model", part), {
        recursive: true,
      })
    const index = join(folder, "model/model_index.json")
    const listed = { safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"] }
    writeFileSync(index, JSON.stringify({ ...JSON.parse(readFileSync(index, "utf8")), ...listed }))
    // Whatever is drawn is too near to what is looked for.
    const checker = join(folder, "model/safety_checker/model.safetensors")
    const { concept_embeds_weights: weights, ...rest } = tensorsIn(checker)
    const strict = float32(weights.shape, new Float32Array(17).fill(-2))
    writeFileSync(
      checker,
      Buffer.concat(encodeSafetensors(new Map(Object.entries({ ...rest, concept_embeds_weights: strict })))),
    )
    const dark = (name: string) => bytesOf(name).every((byte) => byte === 0)

    const args = ["a cat", "--seed", "1", "--model", "model"]
    const ended = await draw([...args, "--out", "dark.png"])
    expect(ended).toMatchObject({ code: 0, stdout: "dark.png\n" })
    expect(ended.stderr).toMatch(/^limn: The model's safety checker withheld the picture/)
    expect(dark("dark.png")).toBe(true)
    const json = JSON.parse((await draw([...args, "--images", "2", "--json"])).stdout)
    expect(json).toMatchObject({ withheld: [true, true], warnings: [expect.stringMatching(/withheld/)] })
    expect((await draw([...args, "--out", "light.png", "--no-safety-checker"])).stderr).toBe("")
    expect(dark("light.png")).toBe(false)

    rmSync(join(folder, "model/safety_checker"), { recursive: true })
    expect((await draw(args)).stderr).toMatch(
      /safety_checker.*is not there; fetch it, or .*--no-safety-checker/,
    )
    expect(await draw([...args, "--no-safety-checker"])).toMatchObject({ code: 0, stderr: "" })
  })
})

describe("limn grid", () => {
  it("shows examples, on lines that fit", async () => {
    const { code, stdout } = await limn(["grid", "--help"])
    expect(code).toBe(0)
    expect(stdout).toContain("--x steps=4,8,16")
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80)
  })

  const grid = (args: readonly string[], given?: Given) =>
    limn(["grid", "--model", tiny, "--device", "cpu", "--seed", "7", ...args], given)

  it("draws pictures on one sheet, and info tells how", async () => {
    const ended = await grid(["a cat", "--x", "steps=1,2", "--y", "guidance=1,2,3"])
    expect(ended).toEqual({ code: 0, stdout: "cat-grid-7.png\n", stderr: "" })
    const told = await limn(["info", "cat-grid-7.png", "--json"])
    expect(JSON.parse(told.stdout).settings).toMatchObject({
      grid: {
        x: { setting: "steps", values: [1, 2] },
        y: { setting: "guidanceScale", values: [1, 2, 3] },
      },
      prompt: "a cat",
      seed: 7,
      scheduler: { _class_name: "PNDMScheduler" },
    })
    const again = await limn(["again", "cat-grid-7.png", "--model", tiny])
    expect(again).toMatchObject({ code: 1, stderr: expect.stringMatching(/is a grid of pictures/) })
  })

  it("tells a program of every picture", async () => {
    const { stdout } = await grid(["--x", "prompt=a cat|a dog", "--steps", "1", "--out", "g.png", "--json"])
    const json = JSON.parse(stdout)
    expect(json).toMatchObject({ file: "g.png", seed: 7, withheld: [[false, false]], warnings: [] })
    expect(json.settings[0].map(({ prompt }: { prompt: string[] }) => prompt)).toEqual([["a cat"], ["a dog"]])
  })

  it.skipIf(process.platform !== "linux")("numbers what the machine has no letters for", async () => {
    const config = '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig></fontconfig>'
    writeFileSync(join(folder, "fonts.conf"), config)
    const env = { FONTCONFIG_FILE: join(folder, "fonts.conf") }
    const { code, stderr } = await grid(["--x", "prompt=a cat|一颗红心", "--steps", "1"], { env })
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'limn: This machine has no letters for "一颗红心"; the grid calls it "prompt 2".\n',
    })
  })

  it.each<[string, string[], RegExp]>([
    ["no sides", ["a cat"], /A grid needs --x/],
    ["no prompt", ["--x", "steps=1"], /There is no prompt/],
    ["two prompts", ["a cat", "a dog", "--x", "steps=1"], /A grid has one prompt/],
    ["prompts of its own beside another", ["a cat", "--x", "prompt=a dog"], /its own prompts; leave "a cat"/],
    ["one setting twice", ["a cat", "--x", "steps=1", "--y", "steps=2"], /Both sides of the grid are steps/],
    ["a wrong value among others", ["a cat", "--x", "steps=1,0"], /steps is 0/],
    [
      "strength without a picture",
      ["a cat", "--x", "strength=0.5"],
      /strength says how to draw over a picture; give that with image/,
    ],
    ["the scale of no LoRA", ["a cat", "--x", "lora=0,1"], /it has none/],
    ["an unknown scheduler", ["a cat", "--x", "scheduler=ddim,magic"], /"magic"/],
  ])("refuses %s before it draws", async (_, args, message) => {
    const ended = await grid(args)
    expect(ended).toEqual({ code: 2, stdout: "", stderr: expect.stringMatching(message) })
    expect(readdirSync(folder)).toEqual([])
  })
})
