import { readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/** Where and with what a measurement was made. */
export interface Measured {
  readonly date: string
  readonly machine: string
  readonly node: string
  readonly onnxruntime: string
  /** What else ran, where that is known to have disturbed the figures. */
  readonly note?: string
}

const folder = dirname(fileURLToPath(import.meta.url))

/** Describes this measurement; `--machine`, `--date` and `--note` of the command line are what a program cannot see. */
export function measured(said: { machine: string; date?: string; note?: string }): Measured {
  const engine = join(folder, "../node_modules/onnxruntime-node/package.json")
  return {
    date: said.date ?? new Date().toISOString().slice(0, 10),
    machine: said.machine,
    node: process.version,
    onnxruntime: JSON.parse(readFileSync(engine, "utf8")).version,
    ...(said.note !== undefined && { note: said.note }),
  }
}

/** Prints rows as a table, and keeps them with the circumstances in results/, and a picture of them where there is one. */
export function report(
  name: string,
  circumstances: Measured,
  rows: readonly object[],
  picture?: string,
): void {
  console.table(rows)
  const path = join(folder, "results", `${name}.json`)
  writeFileSync(path, `${JSON.stringify({ ...circumstances, rows }, null, 2)}\n`)
  console.log(path)
  if (picture !== undefined) writeFileSync(path.replace(/json$/, "svg"), picture)
}

/** The seconds that each of so many repetitions of a work took. */
export async function secondsOf(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const seconds: number[] = []
  for (let k = 0; k < count; k++) {
    const started = performance.now()
    await work()
    seconds.push((performance.now() - started) / 1000)
  }
  return seconds
}

/** The middle one of some numbers. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]
}

/** To so many significant digits, as a number. */
export function rounded(value: number, digits = 3): number {
  return Number(value.toPrecision(digits))
}

/** The options that every benchmark takes. */
export const commonOptions = {
  machine: { type: "string", default: "unnamed machine" },
  date: { type: "string" },
  note: { type: "string" },
  repeats: { type: "string", default: "5" },
} as const

/** The options of those that compare limn with others on full-size models. */
export const peerOptions = {
  folder: { type: "string", default: "cache/full" },
  /** Those to run, separated by commas. */
  models: { type: "string", default: "stable-diffusion-1,sdxl-turbo" },
  /** An interpreter with the packages of reference/requirements.txt. */
  python: { type: "string" },
} as const
