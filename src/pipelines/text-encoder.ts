import { UsageError } from "../ground/errors.ts"
import { textPrecisions } from "./chatglm-blocks.ts"
import type { ChatGlmEncoder, ChatGlmOptions, ChatGlmParts } from "./chatglm-encoder.ts"
import { chatGlmEncoder } from "./chatglm-encoder.ts"
import type { ClipEncoder, ClipParts } from "./clip-encoder.ts"
import { clipEncoder } from "./clip-encoder.ts"
import type { Family } from "./family.ts"
import type { NetworkOptions } from "./network.ts"

/** One of a model's text encoders, and the tokenizer before it. */
export type TextEncoder = ClipEncoder | ChatGlmEncoder

/** What one is read from. */
export type TextParts = ClipParts | ChatGlmParts

/**
 * An encoder whose states are read as the family does. Nothing is loaded yet.
 * Throws a UsageError where it is asked for in numbers that it cannot be kept in, a FormatError where its configuration or its tensors are
 * wrong, and as `quantizedWeights` does.
 */
export async function textEncoder(
  parts: TextParts,
  family: Family,
  running: NetworkOptions,
  options: ChatGlmOptions,
): Promise<TextEncoder> {
  const wanted = options.textEncoder
  if (wanted !== undefined && !textPrecisions.includes(wanted))
    throw new UsageError(
      `textEncoder is ${JSON.stringify(wanted)}; choose one of ${textPrecisions.join(", ")}.`,
    )
  if (parts.kind === "chatglm") return chatGlmEncoder(parts, running, options)
  if (wanted !== undefined)
    throw new UsageError(
      `textEncoder is for models that read texts with ChatGLM, such as Kolors, and ${family.title} reads them with CLIP; leave it away.`,
    )
  return clipEncoder(parts, family, running)
}

/** Words that a model's encoders have learnt beside their vocabulary, in order. */
export function learntWords([first]: readonly TextEncoder[]): string[] {
  return first.kind === "clip" ? first.learnt.map(({ word }) => word) : []
}

/** Whether words can weigh more or less in their states: CLIP's bear it, of ChatGLM's nothing is known. */
export function readsWeights(encoders: readonly TextEncoder[]): boolean {
  return encoders.every(({ kind }) => kind === "clip")
}
