import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { toHalfPrecision } from "../../src/graph/passes/precision.ts"
import type { Value } from "../../src/graph/value.ts"
import type { Weights } from "../../src/graph/weights.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import type { ChatGlmRows } from "../../src/models/chatglm.ts"
import {
  chatGlmEmbeddings,
  chatGlmLayers,
  chatGlmSurroundings,
  lastPosition,
} from "../../src/models/chatglm.ts"
import type { ChatGlmConfig } from "../../src/models/config/chatglm.ts"
import { chatGlmConfig } from "../../src/models/config/chatglm.ts"
import { chatGlmParameters, isChatGlmHead } from "../../src/models/parameters/chatglm.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenNames, goldenTensors, relativeDifference } from "./golden.ts"

async function opened(name: string) {
  const golden = goldenTensors(`chatglm/${name}/case.safetensors`)
  const component = await openComponent(join(goldenFolder, "chatglm", name), { unused: isChatGlmHead })
  const config = chatGlmConfig(component.config, name)
  const weights = componentWeights(component, chatGlmParameters(config))()
  const shape = golden.input_ids.shape
  const rows: ChatGlmRows = {
    ids: input("ids", "int64", shape),
    attentionMask: input("attentionMask", "int64", shape),
    positionIds: input("positionIds", "int64", shape),
  }
  const { input_ids: ids, attention_mask: attentionMask, position_ids: positionIds } = golden
  return { golden, config, weights, rows, feeds: { ids, attentionMask, positionIds } }
}

/** The embeddings, and the state after each layer. */
function chatGlm(rows: ChatGlmRows, w: Weights, config: ChatGlmConfig): Value[] {
  const embedded = chatGlmEmbeddings(rows.ids, w)
  const around = chatGlmSurroundings(rows, config)
  return [embedded, ...chatGlmLayers(embedded, around, [0, config.numLayers], w, config)]
}

async function run(outputs: Record<string, Value>, feeds: Record<string, Tensor>) {
  const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
  const result = await session.run(feeds)
  await session.close()
  return result
}

function named(states: readonly Value[]): Record<string, Value> {
  return {
    ...Object.fromEntries(states.map((state, i) => [`hidden_states.${i}`, state])),
    pooled: lastPosition(states.at(-1)!),
  }
}

describe.each(goldenNames("chatglm"))("ChatGLM %s", (name) => {
  test("every state, padding's too", async () => {
    const { golden, config, weights, rows, feeds } = await opened(name)
    const outputs = named(chatGlm(rows, weights, config))
    checkAllRead(weights)
    const result = await run(outputs, feeds)
    expect(Object.keys(result)).toHaveLength(config.numLayers + 2)
    for (const [output, value] of Object.entries(result))
      expect(relativeDifference(value, golden[output]), output).toBeLessThan(1e-4)
  })

  test("in half precision to its digits", async () => {
    const { golden, config, weights, rows, feeds } = await opened(name)
    const result = await run(toHalfPrecision(named(chatGlm(rows, weights, config))), feeds)
    for (const [output, value] of Object.entries(result))
      expect(relativeDifference(value, golden[output]), output).toBeLessThan(0.02)
  })
})

test("ChatGLM in two graphs, one after the other", async () => {
  const { golden, config, weights, rows, feeds } = await opened("two-groups")
  const first = chatGlmLayers(
    chatGlmEmbeddings(rows.ids, weights),
    chatGlmSurroundings(rows, config),
    [0, 2],
    weights,
    config,
  )
  const half = await run({ between: first[1] }, feeds)
  const given = input("between", "float32", first[1].shape)
  const rest = chatGlmLayers(given, chatGlmSurroundings(rows, config), [2, 3], weights, config)
  const { attentionMask, positionIds } = feeds
  const { state } = await run({ state: rest[0] }, { ...half, attentionMask, positionIds })
  expect(relativeDifference(state, golden["hidden_states.3"])).toBeLessThan(1e-4)
})
