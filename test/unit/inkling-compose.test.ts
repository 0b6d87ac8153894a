import { describe, expect, it } from "vitest"
import type { Side } from "../../inkling/compose.ts"
import { canvasSize, composePicture, placeMany, placeOne, placePair } from "../../inkling/compose.ts"
import { between, randomFrom } from "../../inkling/random.ts"
import type { Rgb } from "../../inkling/recolour.ts"
import { colourProfile, recolour } from "../../inkling/recolour.ts"
import type { Kind } from "../../inkling/scenes.ts"
import { decksFrom, drawSketch, kindsFor, mixtures, sketchOf } from "../../inkling/scenes.ts"
import { conceptOf, isLeftOut, spriteFrom } from "../../inkling/sprites.ts"

/** An ellipse of one colour, shaded from dark at the top to light at the bottom, with a leaf of another hue. */
function fruit(body: Rgb, leaf: Rgb, box: readonly [number, number, number, number] = [4, 8, 60, 62]) {
  const rgba = new Uint8Array(64 * 64 * 4)
  const [left, top, right, bottom] = box
  for (let y = top; y < bottom; y++)
    for (let x = left; x < right; x++) {
      const u = (2 * (x + 0.5 - left)) / (right - left) - 1
      const v = (2 * (y + 0.5 - top)) / (bottom - top) - 1
      const shade = 0.7 + 0.3 * ((y - top) / (bottom - top))
      const colour = y < top + 4 ? leaf : body
      if (u * u + v * v > 1 && y >= top + 4) continue
      rgba.set([...colour.map((c) => Math.round(c * shade)), 255], (y * 64 + x) * 4)
    }
  return spriteFrom("u1f34e", "noto", "fruit", rgba)!
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

const white: Rgb = [255, 255, 255]
const red: Rgb = [220, 40, 40]
const green: Rgb = [60, 160, 60]

/** Box of the pixels that differ from the background, the last two exclusive. */
function inked(data: Uint8Array, background: Rgb): [number, number, number, number] {
  let [left, top, right, bottom] = [canvasSize, canvasSize, 0, 0]
  for (let i = 0; i < canvasSize * canvasSize; i++) {
    if (background.every((c, k) => Math.abs(data[i * 3 + k] - c) <= 2)) continue
    left = Math.min(left, i % canvasSize)
    right = Math.max(right, (i % canvasSize) + 1)
    top = Math.min(top, Math.floor(i / canvasSize))
    bottom = Math.max(bottom, Math.floor(i / canvasSize) + 1)
  }
  return [left, top, right, bottom]
}

describe("colour of a drawing", () => {
  it("finds the main hue under a leaf of another one", () => {
    const profile = fruit(red, green)
    expect(profile.singleHue).toBe(true)
    expect(Math.min(profile.hue, 360 - profile.hue)).toBeLessThan(10)
  })

  it("is not single where two hues share the drawing, or none is there", () => {
    const half = fruit(red, green).rgba.slice()
    for (let i = 0; i < half.length / 2; i += 4) if (half[i + 3]) half.set([40, 60, 220], i)
    expect(colourProfile(half).singleHue).toBe(false)
    expect(fruit([120, 120, 120], [90, 90, 90]).singleHue).toBe(false)
  })

  it.each<[string, Rgb]>([
    ["blue", [40, 110, 225]],
    ["yellow", [252, 208, 48]],
    ["black", [45, 45, 50]],
    ["grey", [140, 144, 150]],
    ["white", [240, 240, 243]],
  ])("repaints the main hue %s, keeps shading, alpha and the leaf", (_, target) => {
    const sprite = fruit(red, green)
    const painted = recolour(sprite.rgba, sprite, target)
    const at = (x: number, y: number) => [...painted.subarray((y * 64 + x) * 4, (y * 64 + x) * 4 + 4)]
    const leafAt = (10 * 64 + 32) * 4
    expect(at(32, 10)).toEqual([...sprite.rgba.subarray(leafAt, leafAt + 4)])
    const mean = [0, 1, 2].map((c) => {
      let [sum, n] = [0, 0]
      for (let i = 0; i < painted.length; i += 4)
        if (sprite.rgba[i] > sprite.rgba[i + 1]) {
          sum += painted[i + c]
          n++
        }
      return sum / n
    })
    for (let c = 0; c < 3; c++) expect(Math.abs(mean[c] - target[c])).toBeLessThan(30)
    const luma = (p: number[]) => 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]
    expect(luma(at(32, 20))).toBeLessThan(luma(at(32, 55)))
    expect(painted.every((value, i) => i % 4 !== 3 || value === sprite.rgba[i])).toBe(true)
  })
})

describe("composing", () => {
  it("gives the same bytes for the same seed and others for another", () => {
    const draw = (seed: number) => composePicture(placeOne(fruit(red, green), randomFrom(seed)), white).data
    expect(sameBytes(draw(3), draw(3))).toBe(true)
    expect(sameBytes(draw(3), draw(4))).toBe(false)
  })

  it("keeps the mean colour when it scales down (area average of premultiplied colour)", () => {
    const sprite = fruit(red, red, [0, 0, 64, 64])
    const ink = (data: Uint8Array, c: number) => {
      let sum = 0
      for (let i = c; i < data.length; i += 3) sum += 255 - data[i]
      return sum
    }
    const full = composePicture([{ stamp: sprite, x: 32, y: 32, scale: 1 }], white).data
    for (const scale of [0.9, 0.47, 0.3]) {
      const small = composePicture([{ stamp: sprite, x: 31.3, y: 32.6, scale }], white).data
      for (let c = 0; c < 3; c++)
        expect(Math.abs(ink(small, c) / (ink(full, c) * scale * scale) - 1)).toBeLessThan(0.02)
    }
  })

  it("never lets a thing cross the edge, whatever its box", () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = randomFrom(seed)
      const [left, top] = [Math.floor(between(random, 0, 40)), Math.floor(between(random, 0, 40))]
      const size = () => Math.floor(between(random, 8, 24))
      const sprite = fruit(red, red, [left, top, left + size(), top + size()])
      const placed = [
        ...placeOne(sprite, random),
        ...placeMany(sprite, 2 + (seed % 4), random),
        ...placePair(sprite, sprite, (["left", "right", "above", "below"] as const)[seed % 4], random),
      ]
      const inside = placed.every(({ stamp, x, y, scale }) => {
        const [l, t, r, b] = stamp.box
        const [halfWidth, halfHeight] = [((r - l) / 2) * scale - 1e-6, ((b - t) / 2) * scale - 1e-6]
        const left = Math.min(x - halfWidth, y - halfHeight)
        const right = Math.max(x + halfWidth, y + halfHeight)
        return left >= 0 && right <= canvasSize
      })
      expect(inside, `seed ${seed}`).toBe(true)
    }
  })

  it("draws a plain thing large and near the middle", () => {
    const [left, top, right, bottom] = inked(
      composePicture(placeOne(fruit(red, green), randomFrom(1)), white).data,
      white,
    )
    expect(Math.max(right - left, bottom - top)).toBeGreaterThan(0.75 * canvasSize)
    expect(Math.abs((left + right) / 2 - 32)).toBeLessThan(5)
    expect(Math.abs((top + bottom) / 2 - 32)).toBeLessThan(5)
  })

  it.each([2, 3, 4, 5])("draws %i separate things", (count) => {
    for (let seed = 0; seed < 8; seed++) {
      const background: Rgb = [200, 220, 255]
      const { data } = composePicture(placeMany(fruit(red, red), count, randomFrom(seed)), background)
      expect(islands(data, background)).toBe(count)
    }
  })

  it.each<Side>(["left", "right", "above", "below"])("draws the first of two things %s", (side) => {
    const random = randomFrom(9)
    const [first, second] = placePair(fruit(red, red), fruit(green, green), side, random)
    const ahead = {
      left: second.x - first.x,
      right: first.x - second.x,
      above: second.y - first.y,
      below: first.y - second.y,
    }
    expect(ahead[side]).toBeGreaterThan(24)
    expect(islands(composePicture([first, second], white).data, white)).toBe(2)
  })
})

/** How many connected regions differ clearly from the background. */
function islands(data: Uint8Array, background: Rgb): number {
  const ink = new Uint8Array(canvasSize * canvasSize)
  for (let i = 0; i < ink.length; i++)
    ink[i] = background.some((c, k) => Math.abs(data[i * 3 + k] - c) > 60) ? 1 : 0
  let found = 0
  for (let start = 0; start < ink.length; start++) {
    if (!ink[start]) continue
    found++
    const open = [start]
    ink[start] = 0
    for (let at = open.pop(); at !== undefined; at = open.pop())
      for (const next of [at - 1, at + 1, at - canvasSize, at + canvasSize])
        if (ink[next] && Math.abs((next % canvasSize) - (at % canvasSize)) <= 1) {
          ink[next] = 0
          open.push(next)
        }
  }
  return found
}

describe("dealing scenes", () => {
  const sprites = ["u1", "u2", "u3", "u4"].map((concept, i) => ({
    ...fruit([red, green, [40, 60, 220], [150, 150, 150]][i] as unknown as Rgb, green),
    concept,
  }))
  const use = (concept: string) => ({
    common: concept === "u1",
    paintable: concept !== "u2",
    countable: concept !== "u3",
  })

  const mixture = mixtures.everything

  it.each(Object.entries(mixtures))(
    "gives each kind its share of %s, to within one picture",
    (_, mixture) => {
      expect(Object.values(mixture.shares).reduce((a, b) => a + b)).toBeCloseTo(1, 9)
      for (const count of [1, 7, 100, 1234]) {
        const kinds = kindsFor(count, mixture, randomFrom(count))
        expect(kinds.length).toBe(count)
        for (const [kind, share] of Object.entries(mixture.shares))
          expect(Math.abs(kinds.filter((k) => k === kind).length - share * count)).toBeLessThanOrEqual(1)
      }
    },
  )

  it("deals every drawing equally often, common ones more", () => {
    const deal = decksFrom(sprites, use, mixture, randomFrom(2)).plain
    const { commonWeight } = mixture
    const dealt = new Map<string, number>()
    for (let i = 0; i < 10 * (commonWeight + 3); i++) {
      const { concept } = deal()
      dealt.set(concept, (dealt.get(concept) ?? 0) + 1)
    }
    expect(Object.fromEntries(dealt)).toEqual({ u1: 10 * commonWeight, u2: 10, u3: 10, u4: 10 })
  })

  it("repaints only what one hue fills and no name colours, and counts only what can be counted", () => {
    const random = randomFrom(4)
    const decks = decksFrom(sprites, use, mixture, random)
    const seen = (kind: Kind) =>
      [...new Set(Array.from({ length: 60 }, () => sketchOf(kind, decks, random).sprite.concept))].sort()
    expect(seen("recoloured")).toEqual(["u1", "u3"])
    expect(seen("counted")).toEqual(["u1", "u2", "u4"])
    expect(seen("related")).toEqual(["u1", "u2", "u4"])
  })

  it("repaints people only where the paint covers them", () => {
    const person = { ...fruit(red, green), concept: "u1f9d1-200d-1f680", share: 0.5 }
    const hand = { ...fruit(red, green), concept: "u1f44d", share: 0.95 }
    const random = randomFrom(8)
    const { recoloured } = decksFrom([person, hand], () => use("u4"), mixture, random)
    expect(Array.from({ length: 10 }, () => recoloured().concept)).toEqual(Array(10).fill("u1f44d"))
  })

  it("shows no thing twice in a relation, and white things never on white", () => {
    const random = randomFrom(6)
    const decks = decksFrom(sprites, use, mixture, random)
    for (let i = 0; i < 200; i++) {
      const pair = sketchOf("related", decks, random)
      expect(pair.other?.concept).not.toBe(pair.sprite.concept)
      const painted = sketchOf("recoloured", decks, random)
      if (painted.colour === "white") expect(painted.background).toBeDefined()
    }
  })

  it("draws the same sketches for the same seed", () => {
    const draw = (seed: number) => {
      const random = randomFrom(seed)
      const decks = decksFrom(sprites, use, mixture, random)
      const drawn = kindsFor(20, mixture, random).map(
        (kind) => drawSketch(sketchOf(kind, decks, random), random).data,
      )
      return Buffer.concat(drawn)
    }
    expect(sameBytes(draw(5), draw(5))).toBe(true)
    expect(sameBytes(draw(5), draw(6))).toBe(false)
  })
})

describe("concepts", () => {
  it("names an emoji by its code points without variation selectors", () => {
    expect(conceptOf("2764-fe0f")).toBe("u2764")
    expect(conceptOf("0031-20e3")).toBe("u31-20e3")
    expect(conceptOf("1F9D1-200D-1F373")).toBe("u1f9d1-200d-1f373")
  })

  it.each([
    ["u1f44d-1f3fd", true],
    ["u1f1eb-1f1f7", true],
    ["u1f468-200d-1f373", true],
    ["u1f3c3-200d-2640-200d-27a1", true],
    ["u1f9d1-200d-1f373", false],
    ["u1f468", false],
    ["u1f197", false],
    ["u1f408-200d-2b1b", false],
    ["u27a1", false],
  ])("%s is left out: %s", (concept, left) => expect(isLeftOut(concept)).toBe(left))
})
