import { describe, expect, it } from "vitest"
import { FormatError } from "../../src/ground/errors.ts"
import { chatGlmConfig } from "../../src/models/config/chatglm.ts"
import { chatglm3 } from "./published-configs.ts"

const from = "text_encoder/config.json"

describe("ChatGLM's configuration", () => {
  it("reads the published one", () => {
    expect(chatGlmConfig(chatglm3, from)).toEqual({
      vocabSize: 65024,
      hiddenSize: 4096,
      ffnHiddenSize: 13696,
      numLayers: 28,
      numAttentionHeads: 32,
      headWidth: 128,
      groups: 2,
      seqLength: 32768,
      normEps: 1e-5,
      qkvBias: true,
      bias: false,
    })
  })

  it("takes a bias everywhere for one of queries, keys and values too", () => {
    const all = { ...chatglm3, add_qkv_bias: false, add_bias_linear: true }
    expect(chatGlmConfig(all, from)).toMatchObject({ qkvBias: true, bias: true })
  })

  it.each([
    [{ multi_query_attention: false }, '"multi_query_attention" is false; limn supports true.'],
    [{ rmsnorm: false }, '"rmsnorm" is false; limn supports true.'],
    [{ quantization_bit: 4 }, '"quantization_bit" is 4; limn supports 0.'],
    [{ pre_seq_len: 128 }, '"pre_seq_len" is 128; limn supports null.'],
    [
      { apply_residual_connection_post_layernorm: true },
      '"apply_residual_connection_post_layernorm" is true; limn supports false.',
    ],
    [{ multi_query_group_num: 3 }, '"multi_query_group_num" is 3; it must divide the attention heads, 32.'],
    [{ kv_channels: 6 }, '"kv_channels" is 6; half of it turns in pairs, so that 4 must divide it.'],
  ])("refuses %j", (change, message) => {
    expect(() => chatGlmConfig({ ...chatglm3, ...change }, from)).toThrow(
      new FormatError(`${from}: ${message}`),
    )
  })
})
