import { join } from "node:path"
import { parseArgs } from "node:util"
import type { TextToImageOptions } from "../src/index.ts"
import { load, textToImage } from "../src/index.ts"
import type { Memory } from "../test/full/memory.ts"
import { inTurn, itself, runApart } from "./apart.ts"
import { commonOptions, measured, median, peerOptions, report, rounded } from "./machine.ts"
import type { ModelName } from "./parts.ts"
import { loadOptions, modelFolder, roundOnce } from "./parts.ts"

/**
 * How long a whole 512 x 512 picture takes from a checkpoint at full size, stage by stage, and the most memory it takes,
 * in turn by limn and, with --python, by diffusers, each in a process of its own: two steps with guidance of Stable
 * Diffusion 1.4, one step of SDXL-Turbo without. The models, of random float16 weights, are written to --folder (2 GB
 * and 7 GB) the first time.
 */
const { values: options } = parseArgs({
  options: {
    ...commonOptions,
    repeats: { type: "string", default: "2" },
    ...peerOptions,
    contenders: {
      type: "string",
      default: "limn fp32,limn fp32 low memory,limn int8,diffusers fp32,diffusers bf16",
    },
    // How this program runs itself.
    run: { type: "string" },
  },
})

const size = { prompt: "a red heart", seed: 7, width: 512, height: 512 }
const drawings = {
  // Not the checkpoint's own PNDM, which begins with one run more than its steps.
  "stable-diffusion-1": { ...size, steps: 2, guidanceScale: 7.5, scheduler: "Euler" },
  "sdxl-turbo": { ...size, steps: 1, guidanceScale: 0, scheduler: "Euler a" },
} satisfies Partial<Record<ModelName, TextToImageOptions>>
type DrawnModel = keyof typeof drawings

/** Milliseconds of each stage. */
type Stages = Readonly<Record<(typeof stageNames)[number], number>>
const stageNames = ["load", "encode", "denoise", "decode"] as const

async function drawWithLimn(name: DrawnModel, contender: string): Promise<Stages> {
  const precision = contender.split(" ")[1] as "fp32" | "int8"
  const lowMemory = contender.endsWith("low memory")
  const began = performance.now()
  const model = await load(join(options.folder, name), { device: "cpu", precision, lowMemory })
  const opening = performance.now() - began
  const { timings } = await textToImage(model, drawings[name])
  await model.close()
  return { ...timings, load: opening + timings.load }
}

function runContender(name: DrawnModel, contender: string): Promise<Stages & Memory> {
  const [program, precision] = contender.split(" ")
  const folder = join(options.folder, name)
  const { steps, guidanceScale } = drawings[name]
  if (program === "limn")
    return runApart(
      ...itself(import.meta.filename, ["--run", contender, "--models", name, "--folder", options.folder]),
    )
  const script = join(import.meta.dirname, "../reference/bench_picture.py")
  return runApart(options.python!, [script, folder, precision, `${steps}`, `${guidanceScale}`])
}

async function compare(): Promise<void> {
  const rows: object[] = []
  const wanted = options.contenders.split(",")
  const contenders = wanted.filter((each) => each.startsWith("limn") || options.python !== undefined)
  if (contenders.length < wanted.length) console.log("diffusers is left out: --python names none.")
  for (const name of options.models.split(",") as DrawnModel[]) {
    const folder = modelFolder(options.folder, name)
    if (contenders.includes("limn int8")) await roundOnce(folder, loadOptions(name, "int8"))
    const runs = await inTurn(contenders, Number(options.repeats), (contender) =>
      runContender(name, contender),
    )
    for (const [contender, all] of runs) {
      const seconds = (of: (run: Stages) => number) => rounded(median(all.map((run) => of(run) / 1000)))
      const gigabytes = (of: (run: Memory) => number) => rounded(median(all.map(of)))
      rows.push({
        model: name,
        contender,
        ...Object.fromEntries(stageNames.map((stage) => [`${stage}, s`, seconds((run) => run[stage])])),
        "whole, s": seconds((run) => stageNames.reduce((sum, stage) => sum + run[stage], 0)),
        "peak GiB": gigabytes(({ whole }) => whole),
        "of that no file's": gigabytes(({ anonymous }) => anonymous),
      })
    }
  }
  report("picture", measured(options), rows)
}

if (options.run === undefined) await compare()
else console.log(JSON.stringify(await drawWithLimn(options.models as DrawnModel, options.run)))
