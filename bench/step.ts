import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { overIntegers } from "../src/graph/passes/integers.ts"
import { cpuGenerator } from "../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../src/ground/tensor.ts"
import { float32 } from "../src/ground/tensor.ts"
import type { Seen } from "../src/pipelines/calibration.ts"
import { watch } from "../src/pipelines/calibration.ts"
import { openComponent } from "../src/pipelines/component.ts"
import { int8Weights } from "../src/pipelines/int8-weights.ts"
import { load } from "../src/pipelines/load.ts"
import type { Network } from "../src/pipelines/network.ts"
import { fullStableDiffusion1, fullTurbo, writeFullModel } from "../test/full/full-models.ts"
import type { Peak } from "./apart.ts"
import { itself, runApart } from "./apart.ts"
import { commonOptions, measured, median, report, rounded } from "./machine.ts"

/**
 * How long one run of a U-Net and of an autoencoder's decoder takes at 512 x 512, batch 1, at full size and of random
 * float16 weights: limn in fp32 and in int8, and with --python diffusers in fp32 and bf16, in turn, each in a process of its
 * own. The models are written to --folder (2 GB and 7 GB) the first time.
 */
const { values: options } = parseArgs({
  options: {
    ...commonOptions,
    folder: { type: "string", default: "cache/full" },
    /** Those to run, separated by commas. */
    models: { type: "string", default: "stable-diffusion-1,sdxl-turbo" },
    parts: { type: "string", default: "unet,decoder" },
    /** An interpreter with the packages of reference/requirements.txt. */
    python: { type: "string" },
    /** Processes of each contender. */
    rounds: { type: "string", default: "2" },
    // How this program runs itself.
    run: { type: "string" },
  },
})
const families = { "stable-diffusion-1": fullStableDiffusion1, "sdxl-turbo": fullTurbo }
type Part = "unet" | "decoder"

interface Run {
  readonly milliseconds: readonly number[]
  readonly result: readonly number[]
}

function feedsOf(part: Part, xl: boolean): Record<string, Tensor<"float32">> {
  const normals = (...shape: number[]) => cpuGenerator(shape.length).randn(shape)
  if (part === "decoder") return { latents: normals(1, 4, 64, 64) }
  const feeds = { sample: normals(1, 4, 64, 64), timestep: float32([1], [500]) }
  if (!xl) return { ...feeds, encoderHiddenStates: normals(1, 77, 768) }
  const timeIds = float32([1, 6], [512, 512, 0, 0, 512, 512])
  return { ...feeds, encoderHiddenStates: normals(1, 77, 2048), textEmbeds: normals(1, 1280), timeIds }
}

const parts = { unet: "unet", decoder: "vae" } as const

function filesOf(folder: string, part: Part) {
  const path = join(folder, `bench-int8-${part}`)
  return { weights: `${path}.safetensors`, seen: `${path}.json` }
}

/** Watches the network at what it will run on, keeps its weights rounded, and says what it gave in fp32. */
async function prepare(folder: string, part: Part): Promise<object> {
  const model = await load(folder, { device: "cpu" })
  const { network, seen } = watch(part === "unet" ? model.unet : model.decoder, undefined)
  await network.run(feedsOf(part, model.textEncoders.length > 1))
  const { ranges, products } = seen()
  const files = filesOf(folder, part)
  const component = await openComponent(join(folder, parts[part]))
  await int8Weights(files.weights, component, { ranges, products, madeFrom: "bench" })
  writeFileSync(files.seen, JSON.stringify({ ranges: [...ranges], products }))
  return {}
}

async function run(contender: "fp32" | "int8", folder: string, part: Part): Promise<Run> {
  const model = await load(folder, { device: "cpu" })
  const feeds = feedsOf(part, model.textEncoders.length > 1)
  const exact = part === "unet" ? model.unet : model.decoder
  const network = contender === "fp32" ? exact : await overInt8(exact, folder, part)
  const opened = await network.open(feeds)
  const milliseconds: number[] = []
  let results = await opened.run(feeds)
  for (let i = 0; i < Number(options.repeats); i++) {
    const started = performance.now()
    results = await opened.run(feeds)
    milliseconds.push(performance.now() - started)
  }
  const result = Array.from(Object.values(results)[0].data as Float32Array)
  opened.release()
  await model.close()
  return { milliseconds, result }
}

async function overInt8(exact: Network, folder: string, part: Part): Promise<Network> {
  const files = filesOf(folder, part)
  const kept = JSON.parse(readFileSync(files.seen, "utf8"))
  const seen: Seen = { ranges: new Map(kept.ranges), products: kept.products }
  const component = await openComponent(join(folder, parts[part]))
  const weights = await int8Weights(files.weights, component, { ...seen, madeFrom: "bench" })
  return exact.rewritten((outputs) => overIntegers(outputs, weights(), seen.ranges))
}

/** One process of diffusers'. */
function runDiffusers(contender: string, folder: string, part: Part): Promise<Run & Peak> {
  const script = join(import.meta.dirname, "../reference/bench_step.py")
  return runApart(options.python!, [script, folder, part, contender.split(" ")[1], options.repeats])
}

function cosineOf(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, v, i) => sum + v * y[i], 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

async function compare(): Promise<void> {
  const rows: object[] = []
  const contenders = ["fp32", "int8", ...(options.python ? ["diffusers fp32", "diffusers bf16"] : [])]
  for (const name of options.models.split(",") as (keyof typeof families)[]) {
    const folder = resolve(options.folder, name)
    writeFullModel(folder, families[name])
    for (const part of options.parts.split(",") as Part[]) {
      const alone = <T>(contender: string) =>
        runApart<T>(
          ...itself(import.meta.filename, [
            ...["--run", contender, "--folder", folder, "--parts", part, "--repeats", options.repeats],
          ]),
        )
      if (!existsSync(filesOf(folder, part).seen)) await alone("prepare")
      const runs = new Map<string, (Run & Peak)[]>(contenders.map((contender) => [contender, []]))
      for (let round = 0; round < Number(options.rounds); round++)
        for (const contender of contenders)
          runs
            .get(contender)!
            .push(
              await (contender.startsWith("diffusers")
                ? runDiffusers(contender, folder, part)
                : alone<Run>(contender)),
            )
      const timeOf = (contender: string) => median(runs.get(contender)!.flatMap((one) => one.milliseconds))
      const [{ result: exact }] = runs.get("fp32")!
      for (const contender of contenders) {
        const all = runs.get(contender)!.flatMap((one) => one.milliseconds)
        rows.push({
          model: name,
          part,
          contender,
          "seconds, median": rounded(timeOf(contender) / 1000),
          "seconds, least": rounded(Math.min(...all) / 1000),
          "seconds, most": rounded(Math.max(...all) / 1000),
          "limn's int8 is faster by": rounded(timeOf(contender) / timeOf("int8")),
          "peak MiB, median": Math.round(median(runs.get(contender)!.map((one) => one.wholeMiB))),
          "cosine to limn's fp32": Number(cosineOf(runs.get(contender)![0].result, exact).toFixed(6)),
        })
      }
    }
  }
  report("step", measured(options), rows)
}

const [part] = options.parts.split(",") as Part[]
if (options.run === "prepare") console.log(JSON.stringify(await prepare(options.folder, part)))
else if (options.run === "fp32" || options.run === "int8")
  console.log(JSON.stringify(await run(options.run, options.folder, part)))
else await compare()
