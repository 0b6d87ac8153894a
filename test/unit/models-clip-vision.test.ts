import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import type { Value } from "../../src/graph/value.ts"
import { clipVision } from "../../src/models/clip-vision.ts"
import { clipVisionConfig } from "../../src/models/config/clip-vision.ts"
import { clipVisionParameters } from "../../src/models/parameters/clip-vision.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenNames, goldenTensors, relativeDifference } from "./golden.ts"

describe.each(goldenNames("clip-vision"))("clip vision %s", (name) => {
  test("every state", async () => {
    const golden = goldenTensors(`clip-vision/${name}/case.safetensors`)
    const component = await openComponent(join(goldenFolder, "clip-vision", name))
    const config = clipVisionConfig(component.config, name)
    const weights = componentWeights(component, clipVisionParameters(config))()
    const vision = clipVision(input("pixels", "float32", golden.pixels.shape), weights, config)
    checkAllRead(weights)
    const outputs: Record<string, Value> = { image_embeds: vision.imageEmbeds }
    vision.hiddenStates.forEach((state, i) => {
      outputs[`hidden_states.${i}`] = state
    })
    const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
    const result = await session.run({ pixels: golden.pixels })
    await session.close()
    expect(Object.keys(result)).toHaveLength(config.numHiddenLayers + 2)
    for (const [output, value] of Object.entries(result))
      expect(relativeDifference(value, golden[output]), output).toBeLessThan(1e-4)
  })
})
