import { z } from "zod"
import { exists, writeFileAtomic } from "#platform"
import type { Range, Ranges } from "../graph/passes/integers.ts"
import { observeRanges, roundableLayers } from "../graph/passes/integers.ts"
import { pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { readJson } from "./files.ts"
import { inpaint } from "./inpaint.ts"
import type { Model } from "./model.ts"
import type { Network } from "./network.ts"
import { textToImage } from "./text-to-image.ts"

/** What was seen of a network while it drew. */
export interface Seen {
  readonly ranges: Ranges
  /** Names of the weights of products that can be rounded. */
  readonly products: readonly string[]
}

/** What was seen of a model's networks. */
export interface Calibration {
  readonly unet: Seen
  /** Undefined where another decoder stands for the model's own. */
  readonly decoder: Seen | undefined
}

/** How a calibration is followed and stopped. */
export interface CalibrationOptions {
  readonly signal?: AbortSignal
  /** Called before the first step and after each, in steps of all pictures. */
  readonly onProgress?: (done: number, total: number) => void
}

/** Of many kinds and both languages; what is drawn matters little, as long as it is not one thing. */
const prompts = [
  "a red heart",
  "a photograph of an astronaut riding a horse",
  "一只可爱的猫",
  "a bowl of fruit on a wooden table, oil painting, dramatic light",
  "雪山下的湖，日出，高质量摄影",
  "a portrait of an old man with a white beard, black background",
  "a city street at night in the rain, neon signs, people with umbrellas",
  "彩虹，蓝天，白云",
]
const MOST_STEPS = 5

const range = z.tuple([z.number(), z.number()])
const seen = z.object({
  ranges: z.array(z.tuple([z.string(), z.object({ input: range, output: range })])),
  products: z.array(z.string()),
})
const file = z.object({
  madeFrom: z.string(),
  drawn: z.int().min(0).max(prompts.length),
  unet: seen.optional(),
  decoder: seen.optional(),
})

/**
 * Draws a few pictures and watches what the layers read and give. What was seen is kept at `path` after every picture, so
 * that another call goes on from there, and at the end draws nothing; where it is of other weights it is seen anew.
 * Rejects with the signal's reason, and as `textToImage` does.
 */
export async function calibrate(
  model: Model,
  path: string,
  madeFrom: string,
  { signal, onProgress = () => {} }: CalibrationOptions = {},
): Promise<Calibration> {
  const kept = await readKept(path, madeFrom)
  const unet = watch(model.unet, kept?.unet)
  const decoder = model.decoderPath === undefined ? watch(model.decoder, kept?.decoder) : undefined
  const watched: Model = {
    ...model,
    unet: unet.network,
    decoder: decoder?.network ?? model.decoder,
    safetyChecker: undefined,
  }
  const steps = Math.min(MOST_STEPS, model.defaults.steps)
  try {
    for (let i = kept?.drawn ?? 0; i < prompts.length; i++) {
      onProgress(i * steps, prompts.length * steps)
      await drawOne(watched, {
        prompt: prompts[i],
        seed: i,
        steps,
        signal,
        onStep: ({ step, steps: all }) => onProgress((i + step / all) * steps, prompts.length * steps),
      })
      const state = { madeFrom, drawn: i + 1, unet: unet.seen(), decoder: decoder?.seen() }
      await writeFileAtomic(path, [new TextEncoder().encode(JSON.stringify(state, entriesOfMaps))])
    }
    return { unet: unet.seen(), decoder: decoder?.seen() }
  } finally {
    await unet.network.close()
    await decoder?.network.close()
  }
}

type Order = Parameters<typeof textToImage>[1]

function drawOne(model: Model, order: Order) {
  if (model.unetConfig.inChannels === model.vaeConfig.latentChannels) return textToImage(model, order)
  // A model that fills in pictures is given a grey one, and all of it to fill.
  const [height, width] = model.size
  const all = (value: number) => pixels(width, height, 3, new Uint8Array(3 * width * height).fill(value))
  return inpaint(model, { ...order, image: all(128), mask: all(255) })
}

async function readKept(path: string, madeFrom: string) {
  if (!(await exists(path))) return undefined
  const kept = file.safeParse(await readJson(path).catch(() => undefined))
  if (!kept.success || kept.data.madeFrom !== madeFrom) return undefined
  const { drawn, unet, decoder } = kept.data
  const restored = (part: typeof unet): Seen | undefined =>
    part && { ranges: new Map(part.ranges), products: part.products }
  return { drawn, unet: restored(unet), decoder: restored(decoder) }
}

function entriesOfMaps(_: string, value: unknown): unknown {
  return value instanceof Map ? [...value] : value
}

/** A network that runs as before, and what was seen of it so far, on top of what was `before`. */
export function watch(network: Network, before: Seen | undefined): { network: Network; seen(): Seen } {
  const ranges = new Map(before?.ranges)
  let products = before?.products ?? []
  let convolutions: readonly string[] = []
  const observed = network.rewritten((outputs) => {
    ;({ convolutions, products } = roundableLayers(outputs))
    return observeRanges(outputs)
  })
  const note = (rows: Tensor<"float32">) => {
    for (const [i, name] of convolutions.entries()) {
      const [lowIn, highIn, lowOut, highOut] = rows.data.subarray(4 * i, 4 * i + 4)
      const known = ranges.get(name)
      ranges.set(name, {
        input: joined(known?.input, [lowIn, highIn]),
        output: joined(known?.output, [lowOut, highOut]),
      })
    }
  }
  const open: Network["open"] = async (inputs) => {
    const opened = await observed.open(inputs)
    return {
      release: opened.release,
      async run(feeds) {
        const results = await opened.run(feeds)
        note(results.ranges as Tensor<"float32">)
        return results
      },
    }
  }
  return {
    network: {
      ...observed,
      open,
      async run(feeds) {
        const opened = await open(feeds)
        try {
          return await opened.run(feeds)
        } finally {
          opened.release()
        }
      },
    },
    seen: () => ({ ranges, products }),
  }
}

function joined(a: Range | undefined, b: Range): Range {
  return a === undefined ? b : [Math.min(a[0], b[0]), Math.max(a[1], b[1])]
}
