import { UsageError } from "../ground/errors.ts"
import type { TextAttention } from "./ip-adapter.ts"

/**
 * How much of an IP-Adapter a U-Net takes: one number for all of it, or numbers for blocks, in which those that are not
 * named take nothing. Its layout comes from `{ down: { block_2: [0, 1] } }` of SDXL, its style from
 * `{ up: { block_0: [0, 1, 0] } }` (InstantStyle, Wang et al. 2024; diffusers `set_ip_adapter_scale`).
 */
export type IpScale = number | { readonly down?: PartScale; readonly mid?: number; readonly up?: PartScale }

/** One number for each of a half's blocks, or by the name of the block, for all of its attentions or for each in turn. */
type PartScale = number | { readonly [block: `block_${number}`]: number | readonly number[] }

/**
 * A scale as a number for each attention. Throws a UsageError where it names a block that has none, or gives a block other
 * than one number, or one for each.
 */
export function ipScales(scale: IpScale, attentions: readonly TextAttention[]): number[] {
  if (typeof scale === "number") return attentions.map(() => scale)
  const places = attentions.map(({ path }) => placeOf(path))
  for (const half of ["down", "up"] as const) {
    const given = scale[half] ?? {}
    if (typeof given === "number") continue
    for (const [block, numbers] of Object.entries(given)) checkBlock(places, half, block, numbers)
  }
  return places.map(({ half, block, attention }) => {
    const given = scale[half] ?? 0
    if (typeof given === "number") return given
    const numbers = given[block] ?? 0
    if (typeof numbers === "number") return numbers
    return numbers.length === 1 ? numbers[0] : numbers[attention]
  })
}

/**
 * Scales that take from a picture its style alone, and all but its style. Style is where InstantStyle found that of SDXL:
 * in the middle attention of the first block on the way up that attends to the text.
 */
export function styleScales(
  attentions: readonly TextAttention[],
  scales: { readonly style: number; readonly rest: number },
): { readonly style: IpScale; readonly rest: IpScale } {
  const up = attentions.map(({ path }) => placeOf(path)).filter(({ half }) => half === "up")
  const [{ block: first }] = up
  const among = new Set(up.filter(({ block }) => block === first).map(({ attention }) => attention)).size
  const middle = Math.floor(among / 2)
  const inFirst = (there: number, elsewhere: number) =>
    Array.from({ length: among }, (_, i) => (i === middle ? there : elsewhere))
  const blocks = [...new Set(up.map(({ block }) => block))]
  const { style, rest } = scales
  return {
    style: { up: { [first]: inFirst(style, 0) } },
    rest: {
      down: rest,
      mid: rest,
      up: Object.fromEntries(blocks.map((block) => [block, block === first ? inFirst(0, rest) : rest])),
    },
  }
}

/** Whether every number of a scale is one. */
export function isFiniteScale(scale: IpScale): boolean {
  const numbers = (given: IpScale | PartScale | readonly number[]): number[] =>
    typeof given === "number" ? [given] : Object.values(given).flatMap(numbers)
  return numbers(scale).every(Number.isFinite)
}

interface Place {
  readonly half: "down" | "mid" | "up"
  readonly block: `block_${number}`
  /** Its transformer's place in the block. */
  readonly attention: number
}

function placeOf(path: string): Place {
  const [, half, block = 0, attention] = /^(down|mid|up)_block(?:s\.(\d+))?\.attentions\.(\d+)\./.exec(path)!
  return { half: half as Place["half"], block: `block_${Number(block)}`, attention: Number(attention) }
}

function checkBlock(
  places: readonly Place[],
  half: string,
  block: string,
  numbers: number | readonly number[],
): void {
  const inHalf = places.filter((place) => place.half === half)
  const own = new Set(inHalf.filter((place) => place.block === block).map(({ attention }) => attention))
  if (own.size === 0)
    throw new UsageError(
      `The U-Net has no attention to the text in ${half}.${block}; scales are for ${[...new Set(inHalf.map((place) => `${half}.${place.block}`))].join(", ")}.`,
    )
  if (typeof numbers !== "number" && ![1, own.size].includes(numbers.length))
    throw new UsageError(
      `There are ${numbers.length} scales for ${half}.${block}; give one, or ${own.size} for its attentions.`,
    )
}
