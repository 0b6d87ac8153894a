import { existsSync, readdirSync } from "node:fs"
import { Worker } from "node:worker_threads"
import type { InferenceSession } from "onnxruntime-node"
import type { OnnxModel } from "../../../formats/onnx.ts"
import { encodeOnnxModel } from "../../../formats/onnx.ts"
import type { OrtClient } from "../ort-client.ts"
import { ortClient } from "../ort-client.ts"
import type { Device, Engine, EngineOptions, GraphBytes } from "../platform.ts"
import { endTurns, newTurn } from "./turn.ts"
import { placeWeights } from "./weight-files.ts"

/** The threads that hold ONNX Runtime, by lane. */
const clients = new Map<number, OrtClient>()

/** Loads a graph in the ONNX Runtime thread of its lane, which starts with the first graph. */
export async function openEngine(model: OnnxModel | GraphBytes, options: EngineOptions): Promise<Engine> {
  const { bytes, folder } = "bytes" in model ? { ...model, folder: undefined } : await encoded(model, options)
  // Runs on one GPU must not overlap.
  const lane = options.device === "cpu" ? (options.lane ?? 0) : 0
  const client = clients.get(lane) ?? startThread(lane)
  return client.open(model.graphName, bytes, sessionOptions(options, folder))
}

/** The first session takes 30 ms more, for what all of them share: one that is refused takes them while there is time. */
export function wakeEngine(): void {
  if (clients.has(0)) return
  startThread(0)
    .open("nothing", new Uint8Array(), { executionProviders: ["cpu"], logSeverityLevel: 4 })
    .catch(() => {})
}

async function encoded(model: OnnxModel, { files }: EngineOptions) {
  const placed = await placeWeights(model, files)
  return { bytes: encodeOnnxModel(placed.model), folder: placed.folder }
}

/** By the device files of Linux; other systems come with WebGPU, whose adapter only trying can find. */
export function likelyAccelerators(): readonly Device[] {
  if (process.platform !== "linux") return ["webgpu"]
  if (existsSync("/dev/nvidiactl")) return ["cuda", "webgpu"]
  // /dev/dxg is the GPU of Windows, seen from its Linux.
  return existsSync("/dev/dxg") || hasRenderNode() ? ["webgpu"] : []
}

function hasRenderNode(): boolean {
  return existsSync("/dev/dri") && readdirSync("/dev/dri").some((name) => name.startsWith("renderD"))
}

function sessionOptions(options: EngineOptions, folder: string | undefined): InferenceSession.SessionOptions {
  const { device, threads, lowMemory = false, freeAfterRun = false, profile } = options
  return {
    // Alone, so that a device that is not there is an error; operators it has not still run on the CPU.
    executionProviders: [device],
    logSeverityLevel: 4,
    enableCpuMemArena: !freeAfterRun,
    // The last level rearranges convolutions for the CPU's caches, in a copy of their weights that is not "prepacking".
    graphOptimizationLevel: lowMemory ? "extended" : "all",
    extra: {
      // Weights of half precision are widened where they are used, one after the other, and not all of them at loading.
      ...(lowMemory && { optimization: { disable_specified_optimizers: "ConstantFolding" } }),
      session: {
        ...(folder !== undefined && { model_external_initializers_file_folder_path: folder }),
        ...(lowMemory && { disable_prepacking: "1" }),
      },
    },
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    ...(profile !== undefined && { enableProfiling: true, profileFilePrefix: profile }),
  }
}

function startThread(lane: number): OrtClient {
  const turn = newTurn()
  const worker = startWorker("ort-worker", turn)
  // A thread in which nothing runs keeps no process alive.
  worker.unref()
  const end = () => endTurns(turn)
  process.on("exit", end)
  const started = ortClient({
    post: (request, transfer) => worker.postMessage(request, transfer),
    waiting: (some) => (some ? worker.ref() : worker.unref()),
  })
  const lose = (why: string) => {
    process.off("exit", end)
    if (clients.get(lane) === started) clients.delete(lane)
    started.lose(why)
  }
  clients.set(lane, started)
  worker.on("message", started.receive)
  worker.on("error", (error) => lose(`ONNX Runtime's thread failed: ${error.message}`))
  worker.on("exit", () => lose("ONNX Runtime's thread has ended: open the session again."))
  return started
}

/** Starts a module of this folder in a thread of its own. */
function startWorker(name: string, workerData: unknown): Worker {
  // Node's own options are not for it: with --input-type, say, it would not start.
  if (!import.meta.url.endsWith(".ts"))
    return new Worker(new URL(`./${name}.js`, import.meta.url), { workerData, execArgv: [] })
  const module = new URL(`./${name}.ts`, import.meta.url).href
  return new Worker(new URL("./from-source.js", import.meta.url), { argv: [module], workerData })
}
