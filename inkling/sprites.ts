import type { ColourProfile } from "./recolour.ts"
import { colourProfile } from "./recolour.ts"

/** The emoji sets that Inkling learns from, in the order in which they are rendered. */
export const setNames = ["noto", "fluent-emoji", "fluent-emoji-flat", "twemoji"] as const
export type SetName = (typeof setNames)[number]

/** Side of a sprite in pixels. */
export const spriteSize = 64

/** One drawing: which concept it shows, where it comes from, and its pixels. */
export interface Sprite extends ColourProfile {
  /** `u` and the code points in hexadecimal, joined by `-`, without variation selectors: `u2764`. */
  readonly concept: string
  readonly set: SetName
  /** The icon's name in its set. */
  readonly name: string
  /** Smallest box around everything visible: left, top, right, bottom in pixels, the last two exclusive. */
  readonly box: readonly [number, number, number, number]
  /** 64x64 RGBA, straight alpha. */
  readonly rgba: Uint8Array
}

/** Concept of an emoji written as code points joined by `-` (`2764-fe0f` and `2764` are both `u2764`). */
export function conceptOf(codePoints: string): string {
  const points = codePoints.split("-").map((point) => Number.parseInt(point, 16))
  return `u${points
    .filter((point) => point !== 0xfe0f)
    .map((point) => point.toString(16))
    .join("-")}`
}

/**
 * Whether a concept is left out of the training data: skin tones, flags of places, letters of flags, and the variants by
 * gender and direction of a person who is there already. They look alike at 64 pixels and would be a third of all drawings.
 */
export function isLeftOut(concept: string): boolean {
  const points = concept.slice(1).split("-")
  if (points.some((p) => /^1f3f[b-f]$/.test(p))) return true
  if (points.some((p) => /^1f1(e[6-9a-f]|f.)$/.test(p)) || /^u1f3f4-e0/.test(concept)) return true
  return /-200d-(2640|2642|27a1)\b/.test(concept) || /^u1f46[89]-200d/.test(concept) || concept === "u20e3"
}

/** Whether the concept comes in skin tones: people and their hands. */
export function hasSkin(concept: string): boolean {
  const first = Number.parseInt(concept.slice(1), 16)
  return /\p{Emoji_Modifier_Base}/u.test(String.fromCodePoint(first))
}

function visibleBox(rgba: Uint8Array): [number, number, number, number] {
  let [left, top, right, bottom] = [spriteSize, spriteSize, 0, 0]
  for (let y = 0; y < spriteSize; y++)
    for (let x = 0; x < spriteSize; x++) {
      if (rgba[(y * spriteSize + x) * 4 + 3] < 8) continue
      left = Math.min(left, x)
      right = Math.max(right, x + 1)
      top = Math.min(top, y)
      bottom = Math.max(bottom, y + 1)
    }
  return [left, top, right, bottom]
}

/** A sprite from its pixels; undefined where nothing is to be seen. */
export function spriteFrom(
  concept: string,
  set: SetName,
  name: string,
  rgba: Uint8Array,
): Sprite | undefined {
  const box = visibleBox(rgba)
  if (box[2] <= box[0]) return undefined
  return { concept, set, name, box, ...colourProfile(rgba), rgba }
}
