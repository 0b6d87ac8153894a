import { join } from "node:path"
import { describe, expect, it, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import type { Value } from "../../src/graph/value.ts"
import { storedWeights } from "../../src/graph/weights.ts"
import { float32, type Tensor } from "../../src/ground/tensor.ts"
import { controlNetConfig } from "../../src/models/config/controlnet.ts"
import type { ControlNetInputs } from "../../src/models/controlnet.ts"
import { controlNet, controlNetReads, residualScales, residualShapes } from "../../src/models/controlnet.ts"
import { controlNetParameters } from "../../src/models/parameters/controlnet.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenTensors, relativeDifference } from "./golden.ts"
import { kolorsUnet } from "./published-configs.ts"

/** The reference's names of what ControlNets may read beside latents and picture. */
const told = {
  encoderHiddenStates: "encoder_hidden_states",
  textEmbeds: "text_embeds",
  timeIds: "time_ids",
} as const

describe.each(["sd1", "sd1-other", "sd1-pooled", "xl", "xl-small", "kolors", "pooled-text"])(
  "ControlNet %s",
  (name) => {
    const golden = goldenTensors(`controlnet/${name}.safetensors`)
    const open = async () => {
      const component = await openComponent(join(goldenFolder, "controlnet", name))
      const config = controlNetConfig(component.config, name)
      return { config, weights: componentWeights(component, controlNetParameters(config))() }
    }

    it("gives residuals of the shapes that it says", async () => {
      const { config } = await open()
      const shapes = residualShapes(config, golden.sample.shape)
      expect(shapes).toEqual(
        shapes.map((_, i) => (config.globalPool ? shapes[i] : golden[`residual.${i}`].shape)),
      )
      expect(golden[`residual.${shapes.length}`]).toBeUndefined()
    })

    test.each(["residual", "guess"])("%s", async (kind) => {
      const { config, weights } = await open()
      const { sample, timestep, picture } = golden
      const feeds: Record<string, Tensor> = { sample, timestep, picture }
      for (const name of controlNetReads(config)) feeds[name] = golden[told[name]]
      const count = residualShapes(config, golden.sample.shape).length
      feeds.scales = residualScales(count, 0.7, kind === "guess" && !config.globalPool)
      const values: Record<string, Value> = { encoderHiddenStates: input("text", "float32", [1, 1, 1]) }
      for (const [key, { shape }] of Object.entries(feeds)) values[key] = input(key, "float32", shape)
      const residuals = controlNet(values as unknown as ControlNetInputs, weights, config)
      checkAllRead(weights)
      const outputs = Object.fromEntries(residuals.map((one, i) => [`${i}`, one]))
      const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
      const results = await session.run(feeds)
      await session.close()
      expect(Object.keys(results)).toHaveLength(count)
      for (let i = 0; i < count; i++) {
        const expected = golden[`${kind}.${i}`]
        const actual = config.globalPool ? firstOfEach(results[i], expected.shape) : results[i]
        expect(relativeDifference(actual, expected)).toBeLessThan(1e-4)
      }
    })
  },
)

it("reads every tensor of Kolors' ControlNets, of which there are 846", () => {
  const config = controlNetConfig(kolorsUnet, "kolors")
  const specs = controlNetParameters(config)
  expect(specs).toHaveLength(846)
  const storage = { kind: "file", file: "kolors", offset: 0, length: 0 } as const
  const stored = specs.map(({ name, shape }) => [name, { dtype: "float16", shape, storage }] as const)
  const weights = storedWeights(new Map(stored), "kolors")
  const inputs = {
    sample: input("sample", "float32", [2, 4, 128, 128]),
    timestep: input("timestep", "float32", [2]),
    encoderHiddenStates: input("encoderHiddenStates", "float32", [2, 256, 4096]),
    textEmbeds: input("textEmbeds", "float32", [2, 4096]),
    timeIds: input("timeIds", "float32", [2, 6]),
    picture: input("picture", "float32", [1, 3, 1024, 1024]),
    scales: input("scales", "float32", [10]),
  }
  expect(controlNet(inputs, weights, config)).toHaveLength(10)
  expect(weights.unread()).toEqual([])
})

/** The one value of each channel [B, C, 1, 1], once all of a channel are seen to be the same. */
function firstOfEach({ shape, data }: Tensor, to: readonly number[]): Tensor {
  const size = shape[2] * shape[3]
  expect(Array.from(data, Number).every((v, i, all) => v === all[i - (i % size)])).toBe(true)
  return float32(
    to,
    Array.from(data, Number).filter((_, i) => i % size === 0),
  )
}
