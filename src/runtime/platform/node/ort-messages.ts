import type { InferenceSession } from "onnxruntime-node"
import type { Tensor } from "../../../ground/tensor.ts"

/** What the engine asks of the thread that holds ONNX Runtime. */
export type Request = { readonly id: number; readonly session: number } & (
  | { readonly kind: "open"; readonly model: Uint8Array; readonly options: InferenceSession.SessionOptions }
  | {
      readonly kind: "run"
      readonly feeds: Readonly<Record<string, Tensor>>
      readonly outputs: readonly string[]
    }
  | { readonly kind: "close" }
)

/** Its answer to the request of the same `id`: outputs, or what ONNX Runtime said went wrong. */
export type Reply = { readonly id: number } & (
  | { readonly outputs: Readonly<Record<string, Tensor>> }
  | { readonly error: string }
)

/** Whose turn it is, in memory that both threads see: no native code runs, some does, or none may start again. */
export const IDLE = 0
export const RUNNING = 1
export const ENDING = 2
