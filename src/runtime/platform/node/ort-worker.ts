import { parentPort, workerData } from "node:worker_threads"
import * as ort from "onnxruntime-node"
import { ortHost } from "../ort-host.ts"
import { inTurn } from "./turn.ts"

/** The thread that ONNX Runtime blocks: one for each lane of the process. */

// What it would print comes back as errors.
ort.env.logLevel = "fatal"

parentPort?.on(
  "message",
  ortHost({
    load: async () => ort,
    reply: (reply, transfer) => parentPort?.postMessage(reply, transfer),
    guard: (work) => inTurn(workerData, work),
  }),
)
