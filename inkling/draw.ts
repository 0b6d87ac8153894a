import { formatDuration } from "../src/cli/format.ts"
import type { Pixels } from "../src/ground/image.ts"
import type { Model } from "../src/pipelines/model.ts"
import { textToImage } from "../src/pipelines/text-to-image.ts"
import { numberFrom } from "./command.ts"
import type { Order } from "./prompts.ts"

/** How pictures are drawn; what is left out is as `limn` does it. */
export interface Manner {
  readonly steps?: number
  readonly guidanceScale?: number
  readonly scheduler?: string
  readonly cacheInterval?: number
}

/** Options of every script that draws, for `parseArgs`. */
export const drawOptions = {
  model: { type: "string", default: "models/inkling" },
  steps: { type: "string" },
  guidance: { type: "string" },
  scheduler: { type: "string" },
} as const

/** The manner that these options ask for. Throws a UsageError for what is no number. */
export function mannerFrom(values: Readonly<Partial<Record<keyof typeof drawOptions, string>>>): Manner {
  return {
    steps: numberFrom(values.steps, "--steps"),
    guidanceScale: numberFrom(values.guidance, "--guidance"),
    scheduler: values.scheduler,
  }
}

/** Pictures that are drawn together: on two cores, 32 take a tenth less time each than 16, and a third less than 4. */
const batchSize = 32

/** Pictures in the order in which they were asked for, and how they were drawn. */
export interface Drawn {
  readonly pictures: readonly Pixels[]
  readonly manner: Required<Omit<Manner, "cacheInterval">>
  readonly msEach: number
}

/** Draws every order, several at a time; each is the picture that its seed makes alone. Says on stderr how far it is. */
export async function draw(model: Model, orders: readonly Order[], wanted: Manner): Promise<Drawn> {
  const pictures: Pixels[] = []
  const started = performance.now()
  const say = pace(orders.length, started)
  let manner: Drawn["manner"] = { steps: 0, guidanceScale: 0, scheduler: "" }
  for (let at = 0; at < orders.length; at += batchSize) {
    const batch = orders.slice(at, at + batchSize)
    const { images, settings } = await textToImage(model, {
      ...wanted,
      prompt: batch.map(({ prompt }) => prompt),
      seed: batch.map(({ seed }) => seed),
    })
    pictures.push(...images.map(({ pixels }) => pixels))
    const { steps, guidanceScale, scheduler } = settings
    manner = { steps, guidanceScale, scheduler: wanted.scheduler ?? String(scheduler._class_name) }
    say(pictures.length)
  }
  return { pictures, manner, msEach: (performance.now() - started) / orders.length }
}

/** Prints a line with the time left, twice a minute and at the end. */
function pace(total: number, started: number): (done: number) => void {
  let said = started
  return (done) => {
    const now = performance.now()
    if (now - said < 30_000 && done < total) return
    said = now
    const each = (now - started) / done
    const left = done < total ? `, ${formatDuration(each * (total - done))} left` : ""
    console.error(`Drawn ${done} of ${total}, ${(1000 / each).toFixed(2)} a second${left}.`)
  }
}
