import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import type { Value } from "../../src/graph/value.ts"
import { int64 } from "../../src/ground/tensor.ts"
import { clipText, endPosition, pooledText } from "../../src/models/clip-text.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { clipTextParameters } from "../../src/models/parameters/clip-text.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenNames, goldenTensors, relativeDifference } from "./golden.ts"

describe.each(goldenNames("clip-text"))("clip text %s", (name) => {
  test("every state", async () => {
    const golden = goldenTensors(`clip-text/${name}/case.safetensors`)
    const component = await openComponent(join(goldenFolder, "clip-text", name))
    const config = clipTextConfig(component.config, name)
    const weights = componentWeights(component, clipTextParameters(config))()
    const [batch, length] = golden.input_ids.shape
    const { hiddenStates, lastHiddenState } = clipText(
      input("ids", "int64", [batch, length]),
      weights,
      config,
    )
    const rows = Array.from({ length: batch }, (_, b) => {
      const ids = Array.from(golden.input_ids.data.slice(b * length, (b + 1) * length), Number)
      return b * length + endPosition(ids, config.eosTokenId)
    })
    const outputs: Record<string, Value> = {
      last_hidden_state: lastHiddenState,
      // Projected by the models that have a projection.
      [golden.text_embeds ? "text_embeds" : "pooled"]: pooledText(
        lastHiddenState,
        input("rows", "int64", [batch]),
        weights,
      ),
    }
    hiddenStates.forEach((state, i) => {
      outputs[`hidden_states.${i}`] = state
    })
    checkAllRead(weights)
    const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
    const result = await session.run({ ids: golden.input_ids, rows: int64([batch], rows) })
    await session.close()
    expect(Object.keys(result)).toHaveLength(config.numHiddenLayers + 3)
    for (const [output, value] of Object.entries(result))
      expect(relativeDifference(value, golden[output]), output).toBeLessThan(1e-4)
  })
})
