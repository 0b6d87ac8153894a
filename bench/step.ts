import { join } from "node:path"
import { parseArgs } from "node:util"
import { load } from "../src/pipelines/load.ts"
import type { Memory } from "../test/full/memory.ts"
import { inTurn, itself, runApart } from "./apart.ts"
import { barChart } from "./chart.ts"
import { commonOptions, measured, median, peerOptions, report, rounded, secondsOf } from "./machine.ts"
import type { ModelName, Part } from "./parts.ts"
import { feedsOf, isRounded, modelFolder, networkOf, partNames, roundOnce } from "./parts.ts"

/**
 * How long one run of each part of a model takes at 512 x 512, batch 1, at full size and of random float16 weights: limn
 * in fp32 and in int8, and with --python diffusers in fp32 and bf16, in turn, each in a process of its own. The models are
 * written to --folder (2 GB and 7 GB) the first time.
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

async function run(contender: string, folder: string, part: Part): Promise<Run> {
  const model = await load(folder, { device: "cpu", precision: contender as "fp32" | "int8" })
  const feeds = feedsOf(part, model)
  const opened = await networkOf(part, model).open(feeds)
  let results = await opened.run(feeds)
  const seconds = await secondsOf(Number(options.repeats), async () => {
    results = await opened.run(feeds)
  })
  const result = Array.from(Object.values(results)[0].data as Float32Array)
  opened.release()
  await model.close()
  return { seconds, result }
}

/** One process of this program. */
function alone<T>(contender: string, folder: string, part: Part): Promise<T & Memory> {
  return runApart(
    ...itself(import.meta.filename, [
      ...["--run", contender, "--folder", folder, "--parts", part, "--repeats", options.repeats],
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
  const own = isRounded(part) ? ["fp32", "int8"] : ["fp32"]
  if (isRounded(part)) await roundOnce(folder)
  const contenders = [...own, ...(options.python ? ["diffusers fp32", "diffusers bf16"] : [])]
  const runs = await inTurn(contenders, Number(options.rounds), (contender) =>
    (contender.startsWith("diffusers") ? diffusers : alone<Run>)(contender, folder, part),
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
    for (const part of options.parts.split(",") as Part[])
      rows.push(...(await comparePart(name, folder, part)))
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
    barChart("Seconds of one run at 512 x 512; lower is better", groups, "s"),
  )
}

const [part] = options.parts.split(",") as Part[]
if (options.run === undefined) await compare()
else console.log(JSON.stringify(await run(options.run, options.folder, part)))
