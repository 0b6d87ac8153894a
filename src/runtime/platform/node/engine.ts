import type { Worker } from "node:worker_threads"
import type { InferenceSession } from "onnxruntime-node"
import type { OnnxModel } from "../../../formats/onnx.ts"
import { encodeOnnxModel } from "../../../formats/onnx.ts"
import { LimnError } from "../../../ground/errors.ts"
import type { Tensor } from "../../../ground/tensor.ts"
import type { Engine, EngineOptions } from "../platform.ts"
import { placeExternalData } from "./external-data.ts"
import type { Reply, Request } from "./ort-messages.ts"
import { ENDING, IDLE, RUNNING } from "./ort-messages.ts"
import { startWorker } from "./threads.ts"

type Question = Request extends infer R ? (R extends Request ? Omit<R, "id"> : never) : never

interface Pending {
  readonly resolve: (outputs: Readonly<Record<string, Tensor>>) => void
  readonly reject: (error: LimnError) => void
}

/** The thread that holds ONNX Runtime, and the requests that it has not answered. */
interface Host {
  readonly worker: Worker
  readonly pending: Map<number, Pending>
}

let host: Host | undefined
let lastId = 0

/** Loads a graph in the process's ONNX Runtime thread, which starts with the first graph. */
export async function openEngine(model: OnnxModel, options: EngineOptions): Promise<Engine> {
  const files = Object.entries(options.files ?? {})
  const placed = await placeExternalData(model, new Set(files.map(([path]) => path)))
  const bytes = encodeOnnxModel(placed.model)
  const session = ++lastId
  const held = (host ??= startHost())
  const ask = (question: Question, transfer: ArrayBuffer[] = []) => request(held, question, transfer)
  await ask(
    {
      kind: "open",
      session,
      model: bytes,
      options: {
        ...sessionOptions(options, placed.folder),
        externalData: files.map(([path, data]) => ({ path, data })),
      },
    },
    [bytes.buffer as ArrayBuffer],
  )
  return {
    run(feeds, outputs) {
      const sent = Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, detachable(feed)]))
      const owned = Object.values(sent).map(({ data }) => data.buffer)
      return ask(
        { kind: "run", session, feeds: sent, outputs },
        owned.filter((buffer) => buffer instanceof ArrayBuffer),
      )
    },
    async close() {
      await ask({ kind: "close", session })
    },
  }
}

function sessionOptions(options: EngineOptions, folder: string | undefined): InferenceSession.SessionOptions {
  const { device, threads, lowMemory, profile } = options
  const extra = {
    ...(folder !== undefined && { model_external_initializers_file_folder_path: folder }),
    ...(lowMemory && { disable_prepacking: "1" }),
  }
  return {
    executionProviders: device === "cpu" ? ["cpu"] : [device, "cpu"],
    logSeverityLevel: 4,
    extra: { session: extra },
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    ...(profile !== undefined && { enableProfiling: true, profileFilePrefix: profile }),
  }
}

/** A feed that can be given to another thread: a copy of its own elements, or the shared memory that it lies in. */
function detachable(feed: Tensor): Tensor {
  return feed.data.buffer instanceof ArrayBuffer ? { ...feed, data: feed.data.slice() } : feed
}

function request(
  { worker, pending }: Host,
  question: Question,
  transfer: readonly ArrayBuffer[],
): Promise<Record<string, Tensor>> {
  return new Promise((resolve, reject) => {
    const id = ++lastId
    pending.set(id, { resolve, reject })
    worker.ref()
    worker.postMessage({ ...question, id }, transfer)
  })
}

function startHost(): Host {
  const turn = new Int32Array(new SharedArrayBuffer(4))
  const pending = new Map<number, Pending>()
  const worker = startWorker("ort-worker", turn)
  worker.unref()
  worker.on("message", (reply: Reply) => {
    const waiting = pending.get(reply.id)
    pending.delete(reply.id)
    if (pending.size === 0) worker.unref()
    if ("outputs" in reply) waiting?.resolve(reply.outputs)
    else waiting?.reject(new LimnError(reply.error))
  })
  const lose = (why: string) => {
    host = undefined
    process.off("exit", endSafely)
    for (const { reject } of pending.values()) reject(new LimnError(why))
    pending.clear()
  }
  worker.on("error", (error) => lose(`ONNX Runtime's thread failed: ${error.message}`))
  worker.on("exit", () => lose("ONNX Runtime's thread ended."))
  const endSafely = () => waitForTurn(turn)
  process.on("exit", endSafely)
  return { worker, pending }
}

/**
 * Waits until no native code runs and lets none start. A process that exits stops its threads, and a thread stopped
 * inside ONNX Runtime aborts the process: so an exit in the middle of a run comes when the run is over.
 */
function waitForTurn(turn: Int32Array): void {
  while (Atomics.compareExchange(turn, 0, IDLE, ENDING) === RUNNING) Atomics.wait(turn, 0, RUNNING)
}
