import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import { edgesFor } from "../../src/pipelines/controls.ts"
import type { DrawResult } from "../../src/pipelines/draw.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Addition, Model } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { fuse } from "../../src/recipes/fuse.ts"
import { restyle } from "../../src/recipes/restyle.ts"
import { goldenFolder, goldenTensors } from "../unit/golden.ts"
import { kolorsAdapter } from "../unit/kolors-adapter.ts"
import { pictureOf } from "./same-pictures.ts"

const seen = goldenTensors("ip-adapter/pictures.safetensors")
const [first, second] = ["0.picture", "2.picture"].map((name) => pictureOf(seen[name]))
const drawing = { prompt: "a cat", seed: 5, steps: 3, guidanceScale: 4, width: 48, height: 48 }
const place = kolorsAdapter()
const net = controlNet(join(goldenFolder, "kolors-controls/controlnet"))

let base: Model
let model: Model
beforeAll(async () => {
  base = await load(join(goldenFolder, "pipeline-kolors/model"), { device: "cpu", threads: 1 })
  model = await base.with(ipAdapter(place))
})
afterAll(() => Promise.all([model.close(), base.close()]))

/** What a model like the first, with more given to it, draws. */
async function withMore(
  additions: readonly Addition[],
  draw: (model: Model) => Promise<DrawResult>,
): Promise<DrawResult> {
  const given = await base.with(...additions)
  try {
    return await draw(given)
  } finally {
    await given.close()
  }
}

const dataOf = ({ image }: DrawResult): Pixels["data"] => image.pixels.data

describe("fusion", () => {
  test("is one IP-Adapter twice, for all but the style and for the style", async () => {
    const fused = await fuse(model, { ...drawing, identity: first, style: second })
    const [identity, style] = [
      { down: 0.5, mid: 0.5, up: { block_0: [0.5, 0], block_1: 0.5 } },
      { up: { block_0: [0, 1] } },
    ]
    expect(fused.settings.ipAdapters).toEqual(
      [identity, style].map((scale) => ({ name: "ip_adapter_plus_general", scale })),
    )
    const twice = [ipAdapter(place, { scale: identity }), ipAdapter(place, { scale: style })]
    const same = await withMore(twice, (two) => textToImage(two, { ...drawing, ipImages: [first, second] }))
    expect(dataOf(same)).toEqual(dataOf(fused))
    // A model that has it twice already draws the same, and is not changed.
    const again = await withMore([ipAdapter(place), ipAdapter(place)], async (two) => {
      const drawn = await fuse(two, { ...drawing, identity: [first], style: [second] })
      expect(two.ipAdapters.map(({ scale }) => scale)).toEqual([0.5, 0.5])
      return drawn
    })
    expect(dataOf(again)).toEqual(dataOf(fused))
    const turned = await fuse(model, { ...drawing, identity: second, style: first })
    expect(dataOf(turned)).not.toEqual(dataOf(fused))
  })

  test("takes as much of each as it is told", async () => {
    const none = { identityScale: 0, styleScale: 0 }
    const nothing = await fuse(model, { ...drawing, ...none, identity: first, style: second })
    expect(dataOf(nothing)).toEqual(dataOf(await textToImage(base, drawing)))
  })

  test("needs an IP-Adapter, or two", async () => {
    await expect(fuse(base, { ...drawing, identity: first, style: second })).rejects.toThrow(UsageError)
    await expect(fuse(base, { ...drawing, identity: first, style: second })).rejects.toThrow(
      "model has 0 IP-Adapters, and fusion looks through one, or through two; give it one",
    )
  })
})

describe("restyling", () => {
  const size = { width: 48, height: 48 }

  test("is a ControlNet on the edges, an IP-Adapter at half, and image to image", async () => {
    const restyled = await withMore([net, ipAdapter(place)], (one) =>
      restyle(one, { ...drawing, image: first }),
    )
    expect(restyled.settings).toMatchObject({
      strength: 0.8,
      controls: [{ name: "controlnet", scale: 0.8, start: 0, end: 0.9 }],
      ipAdapters: [{ name: "ip_adapter_plus_general", scale: 0.5 }],
    })
    const controls = [{ image: edgesFor(first, size), end: 0.9 }]
    const same = await withMore([net, ipAdapter(place, { scale: 0.5 })], (one) =>
      imageToImage(one, { ...drawing, image: first, controls, ipImages: [first] }),
    )
    expect(dataOf(restyled)).toEqual(dataOf(same))
  })

  test("follows another picture's style, and what is given in place of edges", async () => {
    const given = { ...drawing, image: first, ipImages: [second], likeness: 0.3 }
    const controls = [{ image: second, scale: 0.6, end: 1 }]
    const { settings } = await withMore([net, ipAdapter(place)], (one) =>
      restyle(one, { ...given, controls }),
    )
    expect(settings).toMatchObject({
      controls: [{ scale: 0.6, end: 1 }],
      ipAdapters: [{ scale: 0.3 }],
    })
  })

  test("needs a model with both", async () => {
    await expect(restyle(model, { ...drawing, image: first })).rejects.toThrow(
      "Restyling needs a ControlNet and an IP-Adapter, and model has 0 and 1; give it one of each",
    )
  })
})
