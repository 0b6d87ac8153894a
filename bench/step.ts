import { join } from "node:path"
import { parseArgs } from "node:util"
import { load } from "../src/pipelines/load.ts"
import type { Memory } from "../test/full/memory.ts"
import { inTurn, itself, runApart } from "./apart.ts"
import { barChart } from "./chart.ts"
import { commonOptions, measured, median, peerOptions, report, rounded, secondsOf } from "./machine.ts"
import type { ModelName, Part } from "./parts.ts"
import {
  feedsOf,
  isRounded,
  loadOptions,
  modelFolder,
  networkOf,
  partNames,
  residentText,
  roundOnce,
} from "./parts.ts"

/**
 * How long one run of each part of a model takes at 512 x 512, batch 1, at full size and of random float16 weights: limn
 * in fp32 and in int8, and with --python diffusers in fp32 and bf16, in turn, each in a process of its own. The models are
 * written to --folder (2 GB and 7 GB) the first time. With --models kolors-text it is Kolors' text encoder that reads 256 tokens,
 * in int4 too, as it is loaded, a layer at a time, and with all layers in memory: 22 GB on disk, and 12 GB of memory for
 * diffusers' bf16, the only one of it that runs.
 */
const { values: options } = parseArgs({
  options: {
    ...commonOptions,
    ...peerOptions,
    parts: { type: "string", default: partNames.join() },
    /** Processes of each contender. */
    rounds: { type: "string", default: "2" },
    // How this program runs itself.
    run: { type: "string" },
  },
})

interface Run {
  readonly seconds: readonly number[]
  readonly result: readonly number[]
}

/** A way to run: the numbers that it computes with, and for a model whose layers come and go whether all are in memory. */
type Way = "fp32" | "int8" | "int4" | `${"int8" | "int4"}, resident`

/** The ways in which limn runs a part, and whether diffusers does in fp32: Kolors' text encoder would take 24 GB. */
function waysOf(
  name: ModelName,
  part: Part,
): { readonly own: readonly Way[]; readonly peers: readonly string[] } {
  if (name === "kolors-text")
    return {
      own: ["fp32", "int8", "int4", "int8, resident", "int4, resident"],
      peers: ["diffusers bf16"],
    }
  return { own: isRounded(part) ? ["fp32", "int8"] : ["fp32"], peers: ["diffusers fp32", "diffusers bf16"] }
}

async function run(way: Way, name: ModelName, folder: string, part: Part): Promise<Run> {
  const [precision, resident] = way.split(", ") as ["fp32" | "int8" | "int4", string | undefined]
  const model = await load(folder, loadOptions(name, precision))
  const feeds = feedsOf(part, model)
  const network = resident === undefined ? networkOf(part, model) : await residentText(model)
  const opened = await network.open(feeds)
  let results = await opened.run(feeds)
  const seconds = await secondsOf(Number(options.repeats), async () => {
    results = await opened.run(feeds)
  })
  const result = Array.from(Object.values(results)[0].data as Float32Array)
  opened.release()
  await network.close()
  await model.close()
  return { seconds, result }
}

/** One process of this program. */
function alone<T>(way: string, name: ModelName, folder: string, part: Part): Promise<T & Memory> {
  return runApart(
    ...itself(import.meta.filename, [
      ...["--run", way, "--models", name, "--folder", folder, "--parts", part, "--repeats", options.repeats],
    ]),
  )
}

/** One process of diffusers'. */
function diffusers(contender: string, folder: string, part: Part): Promise<Run & Memory> {
  const script = join(import.meta.dirname, "../reference/bench_step.py")
  return runApart(options.python!, [script, folder, part, contender.split(" ")[1], options.repeats])
}

function cosineOf(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, v, i) => sum + v * y[i], 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

async function comparePart(name: ModelName, folder: string, part: Part) {
  const { own, peers } = waysOf(name, part)
  for (const precision of ["int8", "int4"] as const)
    if (own.includes(precision)) await roundOnce(folder, loadOptions(name, precision))
  const contenders = [...own, ...(options.python ? peers : [])]
  const runs = await inTurn(contenders, Number(options.rounds), (contender) =>
    contender.startsWith("diffusers")
      ? diffusers(contender, folder, part)
      : alone<Run>(contender, name, folder, part),
  )
  const [{ result: exact }] = runs.get("fp32")!
  const all = contenders.map((contender) => {
    const own = runs.get(contender)!
    const times = own.flatMap(({ seconds }) => seconds)
    return {
      contender,
      seconds: median(times),
      least: Math.min(...times),
      most: Math.max(...times),
      peak: median(own.map(({ whole }) => whole)),
      anonymous: median(own.map(({ anonymous }) => anonymous)),
      cosine: cosineOf(own[0].result, exact),
    }
  })
  const secondsOf = (contender: string) => all.find((each) => each.contender === contender)?.seconds
  return all.map(({ contender, seconds, least, most, peak, anonymous, cosine }) => {
    const times = (of: string) => {
      const other = secondsOf(of)
      return other === undefined ? {} : { [`times as fast as ${of}`]: rounded(other / seconds) }
    }
    return {
      model: name,
      part,
      contender: contender.startsWith("diffusers") ? contender : `limn ${contender}`,
      "seconds, median": rounded(seconds),
      "seconds, least": rounded(least),
      "seconds, most": rounded(most),
      ...times("diffusers fp32"),
      ...times("diffusers bf16"),
      "peak GiB": rounded(peak),
      "of that no file's": rounded(anonymous),
      "cosine to limn fp32": Number(cosine.toFixed(6)),
    }
  })
}

async function compare(): Promise<void> {
  const rows: Awaited<ReturnType<typeof comparePart>> = []
  for (const name of options.models.split(",") as ModelName[]) {
    const folder = modelFolder(options.folder, name)
    // Of Kolors' other parts there is no full size there.
    const parts = name === "kolors-text" ? ["text"] : options.parts.split(",")
    for (const part of parts as Part[]) rows.push(...(await comparePart(name, folder, part)))
  }
  const titles = [...new Set(rows.map(({ model, part }) => `${model}, ${part}`))]
  const groups = titles.map((title) => ({
    title,
    bars: rows
      .filter(({ model, part }) => `${model}, ${part}` === title)
      .map((row) => ({
        label: row.contender,
        value: row["seconds, median"],
        least: row["seconds, least"],
        most: row["seconds, most"],
      })),
  }))
  report(
    "step",
    measured(options),
    rows,
    barChart("Seconds of one run at 512 x 512, of Kolors' texts at 256 tokens; lower is better", groups, "s"),
  )
}

const [part] = options.parts.split(",") as Part[]
const [name] = options.models.split(",") as ModelName[]
if (options.run === undefined) await compare()
else console.log(JSON.stringify(await run(options.run as Way, name, options.folder, part)))
