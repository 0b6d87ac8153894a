import type { InferenceSession } from "onnxruntime-node"
import type { Tensor } from "../../ground/tensor.ts"

/** What is asked of the thread that holds ONNX Runtime. `session` is a number that the asker chose. */
export type Question = { readonly session: number } & (
  | {
      readonly kind: "open"
      readonly model: Uint8Array
      readonly options: InferenceSession.SessionOptions
    }
  | {
      readonly kind: "run"
      readonly feeds: Readonly<Record<string, Tensor>>
      readonly outputs: readonly string[]
    }
  | { readonly kind: "close" }
)

export interface Request {
  readonly id: number
  readonly question: Question
}

/** The answer to the request of the same `id`: outputs, or what ONNX Runtime said went wrong. */
export type Reply = { readonly id: number } & (
  | { readonly outputs: Record<string, Tensor> }
  | { readonly error: string }
)
