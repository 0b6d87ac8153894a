import type { OnnxModel } from "../../formats/onnx.ts"
import type { Tensor } from "../../ground/tensor.ts"

/** Where a graph runs. */
export type Device = "cpu" | "webgpu" | "cuda"

/** How a graph is opened, once its device is chosen. */
export interface EngineOptions {
  readonly device: Device
  /** Threads that one run may use (default: one for each physical core). */
  readonly threads?: number
  /** Leaves weights in the checkpoint's pages instead of a rearranged copy: half the memory, up to twice the time. */
  readonly lowMemory?: boolean
  /** Bytes of the external data whose `location` is a key here. */
  readonly files?: Readonly<Record<string, Uint8Array>>
  /** Writes a time for every node to a file whose path begins so, when the engine closes. */
  readonly profile?: string
}

/** One graph held by ONNX Runtime. Feeds and output names are trusted here: `openSession` checks them. */
export interface Engine {
  run(
    feeds: Readonly<Record<string, Tensor>>,
    outputs: readonly string[],
  ): Promise<Readonly<Record<string, Tensor>>>
  close(): Promise<void>
}

/** What limn needs of the machine that it runs on. `#platform` is the half that implements it, Node's or the browser's. */
export interface Platform {
  /** Loads a graph off the thread of the caller. Throws a LimnError that names what ONNX Runtime refused. */
  openEngine(model: OnnxModel, options: EngineOptions): Promise<Engine>
}
