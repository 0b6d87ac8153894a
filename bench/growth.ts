import { parseArgs } from "node:util"
import { load } from "../src/pipelines/load.ts"
import type { Memory } from "../test/full/memory.ts"
import { itself, runApart } from "./apart.ts"
import { multiplicationRate, multiplications } from "./arithmetic.ts"
import type { Line } from "./chart.ts"
import { lineCharts } from "./chart.ts"
import { commonOptions, measured, median, peerOptions, report, rounded, secondsOf } from "./machine.ts"
import type { ModelName, Part } from "./parts.ts"
import { feedsOf, modelFolder, networkOf } from "./parts.ts"

/**
 * How the time and the memory of one run grow with the sides of the picture and with the batch: of the U-Net and the decoder
 * of a full-size model of random float16 weights, in fp32, each in a process of its own. Beside it stands the least time
 * that its multiplications can take at the rate of this machine's float32 products.
 */
const { values: options } = parseArgs({
  options: {
    ...commonOptions,
    folder: peerOptions.folder,
    model: { type: "string", default: "stable-diffusion-1" },
    repeats: { type: "string", default: "3" },
    parts: { type: "string", default: "unet,decoder" },
    pixels: { type: "string", default: "256,512,768,1024" },
    batches: { type: "string", default: "1,2,4" },
    // How this program runs itself.
    run: { type: "string" },
    batch: { type: "string", default: "1" },
  },
})

interface Run {
  readonly seconds: number
  readonly multiplications: number
}

async function run(part: Part, pixels: number, batch: number): Promise<Run> {
  const model = await load(modelFolder(options.folder, options.model as ModelName), { device: "cpu" })
  let count = 0
  const network = networkOf(part, model).rewritten((outputs) => {
    count = multiplications(outputs)
    return outputs
  })
  const feeds = feedsOf(part, model, { pixels, batch })
  const opened = await network.open(feeds)
  await opened.run(feeds)
  const seconds = await secondsOf(Number(options.repeats), () => opened.run(feeds))
  await model.close()
  return { seconds: median(seconds), multiplications: count }
}

interface Row {
  readonly part: Part
  readonly pixels: number
  readonly batch: number
  readonly seconds: number
  readonly "least by its products": number
  readonly "share of that rate": number
  readonly "peak GiB": number
}

function alone(part: Part, pixels: number, batch: number): Promise<Run & Memory> {
  const said = ["--run", part, "--pixels", `${pixels}`, "--batch", `${batch}`, "--repeats", options.repeats]
  return runApart(
    ...itself(import.meta.filename, [...said, "--folder", options.folder, "--model", options.model]),
  )
}

async function compare(): Promise<void> {
  modelFolder(options.folder, options.model as ModelName)
  const sizes = options.pixels.split(",").map(Number)
  const batches = options.batches.split(",").map(Number)
  const cases = [
    ...sizes.map((pixels) => ({ pixels, batch: 1 })),
    ...batches.filter((batch) => batch > 1).map((batch) => ({ pixels: 512, batch })),
  ]
  const found: (Run & Memory & { readonly part: Part; readonly pixels: number; readonly batch: number })[] =
    []
  // The best of a rate that goes up and down with what else the machine does.
  let rate = 0
  for (const part of options.parts.split(",") as Part[])
    for (const { pixels, batch } of cases) {
      process.stderr.write(`${part}, ${pixels} pixels, batch ${batch}\n`)
      rate = Math.max(rate, await multiplicationRate())
      found.push({ part, pixels, batch, ...(await alone(part, pixels, batch)) })
    }
  const rows = found.map(
    ({ part, pixels, batch, seconds, multiplications: count, whole }): Row => ({
      part,
      pixels,
      batch,
      seconds: rounded(seconds),
      "least by its products": rounded(count / rate),
      "share of that rate": rounded(count / rate / seconds, 2),
      "peak GiB": rounded(whole),
    }),
  )
  const linesBy = (
    of: "pixels" | "batch",
    value: "seconds" | "least by its products" | "peak GiB",
    label: string,
  ) =>
    (options.parts.split(",") as Part[]).map((part, colour): Line => {
      const shown = rows.filter(
        (row) => row.part === part && (of === "pixels" ? row.batch : row.pixels / 512) === 1,
      )
      return {
        label: `${part}${label}`,
        points: shown.map((row) => [row[of], row[value]]),
        dashed: value === "least by its products",
        colour,
      }
    })
  const panels = (["pixels", "batch"] as const).flatMap((of) => {
    const x = of === "pixels" ? "pixels of a side" : "batch at 512 x 512"
    return [
      {
        title: "Time",
        x,
        y: "seconds",
        lines: [...linesBy(of, "seconds", ""), ...linesBy(of, "least by its products", ", products alone")],
      },
      { title: "Memory", x, y: "GiB at most", lines: linesBy(of, "peak GiB", "") },
    ]
  })
  const note = `${(rate / 1e9).toFixed(0)} thousand million float32 multiplications and additions a second in a product of 2048 x 2048`
  console.log(note)
  report(
    "growth",
    measured({ ...options, note: options.note ?? note }),
    rows,
    lineCharts(`One run in fp32, ${options.model}`, panels),
  )
}

if (options.run === undefined) await compare()
else
  console.log(JSON.stringify(await run(options.run as Part, Number(options.pixels), Number(options.batch))))
