import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { describe, expect, it } from "vitest"
import { readPngText } from "../../src/formats/png-text.ts"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import type { Ended } from "./processes/installed-limn.ts"
import { runProcess } from "./processes/installed-limn.ts"
import { limnInAFolder, tiny } from "./processes/limn-in-a-folder.ts"

const at = limnInAFolder()
const { limn, draw } = at

describe("limn draws", () => {
  it("a picture named after the prompt and the seed, and says where it is", async () => {
    const ended = await draw(["a", "red", "heart", "--seed", "7"])
    expect(ended).toEqual({ code: 0, stdout: "red-heart-7.png\n", stderr: "" })
    expect(readdirSync(at.folder)).toEqual(["red-heart-7.png"])
  })

  it("the same picture again, beside the first", async () => {
    for (const name of ["red-heart-7.png", "red-heart-7-2.png"])
      expect(await draw(["a red heart", "--seed", "7"])).toMatchObject({ code: 0, stdout: `${name}\n` })
    const [first, second] = readdirSync(at.folder).map((name) => readFileSync(join(at.folder, name)))
    expect(first.equals(second)).toBe(true)
  })

  it("prompts from standard input, a line each, into a folder that it makes", async () => {
    const ended = await draw(["--seed", "1", "--out", "deep/er"], { input: "a cat\n\n一颗红心\r\n" })
    expect(ended).toEqual({ code: 0, stdout: "deep/er/cat-1.png\ndeep/er/一颗红心-1.png\n", stderr: "" })
  })

  it("several pictures, each with a seed that makes it alone", async () => {
    expect((await draw(["a cat", "--seed", "7", "--images", "2"])).stdout).toBe("cat-7.png\ncat-8.png\n")
    expect((await draw(["a cat", "--seed", "8", "--out", "alone.png"])).stdout).toBe("alone.png\n")
    const [alone, eighth] = ["alone.png", "cat-8.png"].map((name) => readFileSync(join(at.folder, name)))
    expect(alone.equals(eighth)).toBe(true)
  })

  it("into a file that is named, in place of the one there", async () => {
    writeFileSync(join(at.folder, "mine.png"), "old")
    expect((await draw(["a cat", "--out", "mine.png"])).stdout).toBe("mine.png\n")
    expect(readFileSync(join(at.folder, "mine.png"), "latin1").slice(1, 4)).toBe("PNG")
    expect(readdirSync(at.folder)).toEqual(["mine.png"])
  })

  it("and prints one JSON object where a program asks", async () => {
    const given = "--seed 18446744073709551615 --noise cuda --negative dog".split(" ")
    const ended = await draw(["a cat", "--json", ...given])
    expect(ended).toMatchObject({ code: 0, stderr: "" })
    const json = JSON.parse(ended.stdout)
    const ms = expect.any(Number)
    expect(json).toMatchObject({
      files: ["cat-18446744073709551615.png"],
      seed: "18446744073709551615",
      seeds: ["18446744073709551615"],
      prompt: ["a cat"],
      negativePrompt: ["dog"],
      steps: 2,
      guidanceScale: 7.5,
      noise: "cuda",
      width: 64,
      height: 64,
      imagesPerPrompt: 1,
      scheduler: { _class_name: "PNDMScheduler" },
      device: "cpu",
      precision: "fp32",
      timings: { load: ms, encode: ms, denoise: ms, decode: ms },
      warnings: [],
    })
    expect(json.peakMemoryBytes).toBeGreaterThan(50e6)
  })

  it("and says nothing where it shall be quiet", async () => {
    expect(await draw(["a cat", "--quiet", "--seed", "1"])).toEqual({ code: 0, stdout: "", stderr: "" })
    expect(readdirSync(at.folder)).toEqual(["cat-1.png"])
  })

  it("prompts of any length, with weights", async () => {
    const words = "word ".repeat(200)
    for (const prompt of [`${words}(red:1.3)`, `${words}red`, `${words}\\(red:1.3\\)`])
      expect(await draw([prompt, "--seed", "1"])).toMatchObject({ code: 0, stderr: "" })
    const pictures = readdirSync(at.folder).map(
      (name) => readPngText(readFileSync(join(at.folder, name))).limn,
    )
    expect(pictures.map((text) => JSON.parse(text).promptSyntax)).toEqual(Array(3).fill("weighted"))
  })

  it("with words of textual inversion, and says which are in no prompt", async () => {
    const words = ["cat-toy.bin", "ink-style.pt"].flatMap((name) => [
      "--embedding",
      join(import.meta.dirname, "../golden/prompts", name),
    ])
    expect(await draw(["a <cat-toy>", "--seed", "1", ...words])).toEqual({
      code: 0,
      stdout: "cat-toy-1.png\n",
      stderr: "limn: No prompt has the learnt word ink-style.\n",
    })
    const again = await limn(["again", "cat-toy-1.png", "--model", tiny, "--device", "cpu"])
    expect(again.stderr).toBe(
      "limn: cat-toy-1.png was drawn with learnt words (<cat-toy>, ink-style); give their files with --embedding.\n",
    )
  })
})

describe("limn refuses in one sentence", () => {
  it.each<[string, string[], number, RegExp]>([
    ["no prompt", [], 2, /There is no prompt/],
    ["an unknown option", ["a cat", "--stepz", "3"], 2, /Did you mean --steps\?/],
    ["an option without its value", ["a cat", "--steps"], 2, /--steps/],
    ["a model that is not there", ["a cat", "--model", "nowhere"], 2, /no model at nowhere/],
    [
      "a name that no model can have",
      ["a cat", "--model", "org/na--me"],
      2,
      /is no name of a model on the Hub/,
    ],
    ["a revision of a folder", ["a cat", "--revision", "main"], 2, /only models on the Hub have revisions/],
    ["a width that is no multiple of 8", ["a cat", "--width", "65"], 2, /width is 65.*multiple of 8/],
    ["a height that is no number", ["a cat", "--height", "tall"], 2, /--height is "tall"/],
    ["no steps", ["a cat", "--steps", "0"], 2, /steps is 0/],
    ["a LoRA that is none", ["a cat", "--lora", join(tiny, "unet/config.json")], 1, /neither a safetensors/],
    [
      "a LoRA that is not there",
      ["a cat", "--lora", "nowhere.safetensors:2"],
      2,
      /no LoRA at .*nowhere\.safetensors/,
    ],
    ["a LoRA without its file", ["a cat", "--lora", ":0.5"], 2, /--lora is ":0.5"/],
    ["half a step", ["a cat", "--steps", "2.5"], 2, /steps is 2.5/],
    ["more steps than training had", ["a cat", "--steps", "1001"], 2, /1000/],
    ["an unknown scheduler", ["a cat", "--scheduler", "magic"], 2, /"magic".*euler/],
    ["an unknown device", ["a cat", "--device", "gpu"], 2, /"gpu".*cpu, webgpu, cuda/],
    ["an unknown precision", ["a cat", "--precision", "int4"], 2, /"int4".*fp32, fp16/],
    ["a negative seed", ["a cat", "--seed", "-1"], 2, /--seed is "-1"/],
    ["a seed above 2^64 - 1", ["a cat", "--seed", "18446744073709551616"], 2, /outside 0 to/],
    ["no pictures", ["a cat", "--images", "0"], 2, /--images is 0/],
    ["a JPEG", ["a cat", "--out", "cat.jpg"], 2, /\.png/],
    ["a place below a file", ["a cat", "--out", "/dev/null/pictures"], 1, /Cannot write into \/dev\/null/],
    ["a mask without a picture", ["a cat", "--mask", "m.png"], 2, /--mask .*--image/],
    ["a picture that is not there", ["a cat", "--image", "nowhere.png"], 1, /Cannot read nowhere.png/],
    ["a picture that is none", ["a cat", "--image", "/dev/null"], 1, /cannot be read as a picture/],
    ["to draw nothing again", ["again", "nowhere.png"], 1, /Cannot read nowhere.png/],
    ["words after a command", ["train", "station", "at", "night"], 2, /limn "train station at night"/],
    ["a command without its path", ["info"], 2, /path/],
    ["to look into nothing", ["info", "nowhere"], 2, /nothing at nowhere/],
    ["to look into anything", ["info", "/dev/null"], 2, /neither a PNG/],
    ["to train without a file", ["train", "nowhere.json"], 2, /nothing at nowhere.json/],
  ])("%s", async (_, args, code, message) => {
    const command = ["info", "train", "again"].includes(args[0]) ? limn : draw
    const ended = await command(args, { input: "" })
    expect(ended).toEqual({ code, stdout: "", stderr: expect.stringMatching(message) })
    // One sentence on one line, no stack; and nothing was written.
    expect(ended.stderr).toMatch(/^limn: [^\n]+\.\n$/)
    expect(readdirSync(at.folder)).toEqual([])
  })

  it.each<[string, (model: string) => void, RegExp]>([
    ["weights cut short", (model) => truncateSync(join(model, "unet", weights), 1000), /unet.*cut short/],
    ["weights of nothing", (model) => writeFileSync(join(model, "vae", weights), ""), /vae.*too few/],
    [
      "broken JSON",
      (model) => writeFileSync(join(model, "unet/config.json"), "{"),
      /config\.json is not valid JSON/,
    ],
    ["a tensor missing", (model) => dropTensor(join(model, "unet", weights)), /conv_in\.bias/],
    ["no weights", (model) => rmSync(join(model, "vae", weights)), /holds no weights/],
  ])("a model with %s", async (_, damage, message) => {
    const model = join(at.folder, "model")
    cpSync(tiny, model, { recursive: true })
    damage(model)
    const ended = await draw(["a cat", "--model", model])
    expect(ended).toEqual({ code: 1, stdout: "", stderr: expect.stringMatching(message) })
    expect(ended.stderr).toMatch(/^limn: [^\n]+\.\n$/)
    expect(readdirSync(at.folder)).toEqual(["model"])
  })

  it("and shows where it happened with --debug", async () => {
    expect((await draw(["a cat", "--steps", "0", "--debug"])).stderr).toMatch(/\n\s+at /)
  })

  it("a checkout that is not built", async () => {
    cpSync(at.bin, join(at.folder, "bin/limn.js"))
    writeFileSync(join(at.folder, "package.json"), '{"type": "module"}')
    const ended = await runProcess(process.execPath, [join(at.folder, "bin/limn.js")])
    expect(ended).toEqual({ code: 1, stdout: "", stderr: expect.stringContaining("npm run build") })
  })
})

it("the library draws from a script without a file, as what Node runs is installed", async () => {
  const library = new URL("../dist/node/index.js", pathToFileURL(at.bin))
  const script = `
    import { load, textToImage } from "${library}"
    const model = await load(${JSON.stringify(tiny)})
    const { image } = await textToImage(model, { prompt: "a cat", seed: 7 })
    await image.save("cat.png")
    await model.close()`
  const ended = await runProcess(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: at.folder,
  })
  expect(ended).toEqual({ code: 0, stdout: "", stderr: "" })
  expect(readdirSync(at.folder)).toEqual(["cat.png"])
})

describe("Ctrl-C", () => {
  it.each([100, 700, 1500, 3000])("after %d ms leaves nothing", async (ms) => {
    const ended = await draw(["a cat", "--steps", "900", "--width", "512", "--height", "512"], {
      onStart: (child) => setTimeout(() => child.kill("SIGINT"), ms),
    })
    expect(ended).toEqual({ code: 130, stdout: "", stderr: "" })
    expect(readdirSync(at.folder)).toEqual([])
  })
})

describe("limn train", () => {
  const run = (steps: number, keys: object = {}) => {
    writeDataset(join(at.folder, "data"))
    const config = {
      learn: "denoiser",
      model: tiny,
      data: "data",
      output: "out",
      batchSize: 2,
      learningRate: 1e-4,
    }
    writeFileSync(join(at.folder, "run.json"), JSON.stringify({ ...config, steps, ...keys }))
  }
  const rows = () => readFileSync(join(at.folder, "out/loss.csv"), "utf8").trim().split("\n").length - 1

  it("learns, and goes on where it stopped", async () => {
    run(2)
    const first = await limn(["train", "run.json"])
    expect(first).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^out {2}2 of 2 steps, loss [\d.]+, /),
      stderr: "",
    })
    run(3)
    expect((await limn(["train", "run.json"])).stdout).toMatch(/^out {2}3 of 3 steps/)
    expect(rows()).toBe(3)
    expect((await limn(["train", "run.json"])).stdout).toBe("out  all 3 steps were done before\n")
    // What was learnt is a part of a model.
    expect((await limn(["info", "out/unet"])).stdout).toContain("UNet2DConditionModel")
  })

  it("saves at Ctrl-C", async () => {
    run(100_000, { saveMinutes: 0.0001 })
    const ended = await limn(["train", "run.json"], {
      onStart: (child) => {
        // After the first save there surely are steps to save.
        const waiting = setInterval(() => {
          if (!existsSync(join(at.folder, "out/state.safetensors"))) return
          clearInterval(waiting)
          child.kill("SIGINT")
        }, 50)
      },
    })
    expect(ended).toMatchObject({ code: 130, stdout: "" })
    const [, step] = /Stopped at step (\d+) of 100000/.exec(ended.stderr) ?? []
    expect(rows()).toBe(Number(step))
    expect(readdirSync(join(at.folder, "out")).filter((name) => name.endsWith(".part"))).toEqual([])
  })

  it("refuses what is wrong in its file", async () => {
    run(2, { learningRate: -1 })
    const ended = await limn(["train", "run.json"])
    expect(ended).toEqual({ code: 2, stdout: "", stderr: expect.stringMatching(/run\.json: "learningRate"/) })
  })
})

describe("help", () => {
  it("shows examples in both languages, and the version", async () => {
    const { code, stdout, stderr } = await limn(["--help"])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    for (const part of ['limn "a red heart"', "一颗红心", "--guidance", "train <config>"])
      expect(stdout).toContain(part)
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80)
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"))
    expect((await limn(["--version"])).stdout).toBe(`${version}\n`)
  })
})

/** `script` gives a process a terminal of its own; Linux has it. */
describe.skipIf(!existsSync("/usr/bin/script"))("in a terminal", () => {
  const inTerminal = (args: readonly string[]): Promise<Ended> => {
    const words = [process.execPath, at.bin, "--model", tiny, "--device", "cpu", ...args]
    const command = `stty cols 80; env -u CI TERM=xterm-256color COLORTERM=truecolor ${words.map((word) => `'${word}'`).join(" ")}`
    return runProcess("/usr/bin/script", ["-qec", command, "/dev/null"], { cwd: at.folder })
  }

  it("limn shows a bar while it works, and then the picture", async () => {
    const { code, stdout } = await inTerminal(["a cat", "--steps", "20", "--seed", "7"])
    expect(code).toBe(0)
    expect(stdout).toMatch(/drawing {2}━+─* {2}\d+\/21/)
    expect(stdout).toContain("\x1b[38;2;")
    expect(stdout).toMatch(/cat-7\.png {2}64x64, 20 steps, seed 7, [\d.]+ s\r\n$/)
  })

  it("limn shows neither where it shall be quiet", async () => {
    expect((await inTerminal(["a cat", "--steps", "2", "--quiet"])).stdout).toBe("")
  })
})

const weights = "diffusion_pytorch_model.safetensors"

/** Renames one tensor, so that it is missing under its own name. */
function dropTensor(path: string): void {
  const bytes = readFileSync(path, "latin1")
  writeFileSync(path, bytes.replace('"conv_in.bias"', '"conv_in.bits"'), "latin1")
}

/** Eight pictures of noise with captions. */
function writeDataset(to: string): void {
  mkdirSync(to, { recursive: true })
  const data = Uint8Array.from({ length: 8 * 16 * 16 * 3 }, (_, i) => (i * 7919) % 251)
  const chunks = encodeSafetensors({ pixels: { dtype: "uint8", shape: [8, 16, 16, 3], data } })
  writeFileSync(join(to, "images.safetensors"), Buffer.concat(chunks))
  const lines = Array.from({ length: 8 }, (_, i) => JSON.stringify({ captions: [`picture ${i}`, `图 ${i}`] }))
  writeFileSync(join(to, "captions.jsonl"), `${lines.join("\n")}\n`)
}
