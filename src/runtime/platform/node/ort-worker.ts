import { parentPort, workerData } from "node:worker_threads"
import * as ort from "onnxruntime-node"
import type { DType } from "../../../ground/dtype.ts"
import { arrayOf } from "../../../ground/dtype.ts"
import { messageOf } from "../../../ground/errors.ts"
import type { Tensor } from "../../../ground/tensor.ts"
import type { Reply, Request } from "./ort-messages.ts"
import { ENDING, IDLE, RUNNING } from "./ort-messages.ts"

/**
 * The thread that ONNX Runtime blocks. It holds every session of the process and does one thing at a time, in the
 * order asked: each run uses all cores anyway, and runs on one GPU must not overlap.
 */

ort.env.logLevel = "error"

const turn: Int32Array = workerData
const sessions = new Map<number, HeldSession>()
let last: Promise<void> = Promise.resolve()

interface HeldSession {
  readonly session: ort.InferenceSession
  readonly profiled: boolean
  /** Memory that feeds shared with another thread are copied into, by input name. */
  readonly scratch: Map<string, Tensor["data"]>
}

parentPort?.on("message", (request: Request) => {
  last = last.then(() => answer(request))
})

async function answer(request: Request): Promise<void> {
  // A process that is ending must find no native code running: see `endSafely`.
  if (Atomics.compareExchange(turn, 0, IDLE, RUNNING) === ENDING) return
  try {
    const outputs = await perform(request)
    reply({ id: request.id, outputs }, outputs)
  } catch (error) {
    reply({ id: request.id, error: messageOf(error) })
  } finally {
    Atomics.store(turn, 0, IDLE)
    Atomics.notify(turn, 0)
  }
}

async function perform(request: Request): Promise<Record<string, Tensor>> {
  if (request.kind === "open") {
    const session = await ort.InferenceSession.create(request.model, request.options)
    const profiled = request.options.enableProfiling === true
    sessions.set(request.session, { session, profiled, scratch: new Map() })
    return {}
  }
  const held = sessions.get(request.session)
  if (held === undefined) throw new Error("the session is closed")
  if (request.kind === "run") return run(held, request.feeds, request.outputs)
  sessions.delete(request.session)
  if (held.profiled) held.session.endProfiling()
  await held.session.release()
  return {}
}

async function run(
  held: HeldSession,
  feeds: Readonly<Record<string, Tensor>>,
  outputs: readonly string[],
): Promise<Record<string, Tensor>> {
  const inputs: Record<string, ort.Tensor> = {}
  for (const [name, feed] of Object.entries(feeds))
    inputs[name] = new ort.Tensor(feed.dtype as ort.Tensor.Type, unshared(held, name, feed), feed.shape)
  const fetched = await held.session.run(inputs, outputs)
  const results: Record<string, Tensor> = {}
  for (const name of outputs) {
    const { type, dims, data } = fetched[name]
    const dtype = type as DType
    const { buffer, byteOffset } = data as Tensor["data"]
    // Viewed anew because newer Nodes give float16 as Float16Array.
    results[name] = { dtype, shape: dims, data: new arrayOf[dtype](buffer, byteOffset, data.length) }
  }
  return results
}

/** The feed's numbers outside shared memory, which Node 20 does not let native code read. */
function unshared(held: HeldSession, name: string, { dtype, data }: Tensor): Tensor["data"] {
  if (data.buffer instanceof ArrayBuffer) return data
  let copy = held.scratch.get(name)
  if (copy?.length !== data.length) held.scratch.set(name, (copy = new arrayOf[dtype](data.length)))
  bytes(copy).set(bytes(data))
  return copy
}

function bytes({ buffer, byteOffset, byteLength }: Tensor["data"]): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

function reply(message: Reply, outputs: Readonly<Record<string, Tensor>> = {}): void {
  const buffers = Object.values(outputs).map(({ data }) => data.buffer as ArrayBuffer)
  parentPort?.postMessage(message, [...new Set(buffers)])
}
