import { openEngine } from "#platform"
import type { OnnxModel, OnnxSignature } from "../formats/onnx.ts"
import { LimnError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import { chooseDevice } from "./device.ts"
import { checkFeeds, checkOutputs, checkTypes } from "./feeds.ts"
import type { Device, EngineOptions, GraphBytes } from "./platform/platform.ts"

export type { Device } from "./platform/platform.ts"

/** A graph ready to run: feeds in, outputs back. Runs of all sessions of a lane take turns. */
export interface Session {
  readonly device: Device
  /**
   * Runs the graph once, away from the caller's thread. `outputs` names those wanted (all by default).
   * Feeds are copied before the call returns, so the caller may change them; a feed over a SharedArrayBuffer is read
   * in place instead, and must stay as it is until the run ends. Throws a LimnError where a feed is missing, unknown,
   * or of another type or shape than the graph's input, and where a node fails.
   */
  run(feeds: Readonly<Record<string, Tensor>>, outputs?: readonly string[]): Promise<Record<string, Tensor>>
  /** Gives the memory back. A second call does nothing. */
  close(): Promise<void>
}

/** How a session is opened. */
export interface SessionOptions extends Omit<EngineOptions, "device"> {
  /** Where to run; "auto" (the default) is the fastest device that this machine has. */
  readonly device?: Device | "auto"
}

/**
 * Loads a graph. External data is read from the file at its `location`, an absolute path, or from `files` where that
 * holds the location. Throws a LimnError where a file is missing or too short, where ONNX Runtime refuses the graph,
 * and where the machine has no such device.
 */
export function openSession(model: OnnxModel, options: SessionOptions = {}): Promise<Session> {
  return sessionOf(model, model, options)
}

/** A session over a graph of this signature, however it is given. Throws as `openSession` does. */
export async function sessionOf(
  signature: OnnxSignature,
  graph: OnnxModel | GraphBytes,
  options: SessionOptions,
): Promise<Session> {
  checkTypes(signature)
  const device = await chooseDevice(options.device ?? "auto")
  const engine = await openEngine(graph, { ...options, device })
  let closed = false
  return {
    device,
    async run(feeds, outputs = signature.outputs.map((output) => output.name)) {
      if (closed)
        throw new LimnError(`The session of ${signature.graphName} is closed: open another to run it.`)
      checkFeeds(signature, feeds)
      checkOutputs(signature, outputs)
      return engine.run(feeds, outputs)
    },
    async close() {
      if (closed) return
      closed = true
      await engine.close()
    },
  }
}
