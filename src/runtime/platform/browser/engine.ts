import type { InferenceSession } from "onnxruntime-node"
import type { OnnxModel } from "../../../formats/onnx.ts"
import { encodeOnnxModel } from "../../../formats/onnx.ts"
import { checkLength, externalEnds, withExternalData } from "../external-data.ts"
import type { OrtClient } from "../ort-client.ts"
import { ortClient } from "../ort-client.ts"
import type { Device, Engine, EngineOptions, GraphBytes } from "../platform.ts"
import { productMs } from "../probe.ts"

/** The workers that hold ONNX Runtime, by lane. */
const clients = new Map<number, OrtClient>()

/**
 * Loads a graph in the ONNX Runtime worker of its lane, which starts with the first graph. Weights that are not among
 * `files` are fetched by the worker from their location, an address, so that the page never holds them.
 */
export async function openEngine(model: OnnxModel | GraphBytes, options: EngineOptions): Promise<Engine> {
  // Runs on one GPU must not overlap.
  const lane = options.device === "cpu" ? (options.lane ?? 0) : 0
  const client = clients.get(lane) ?? startWorker(lane)
  const { bytes, externalData } =
    "bytes" in model ? { ...model, externalData: [] } : encoded(model, options.files)
  return client.open(model.graphName, bytes, sessionOptions(options, externalData))
}

function encoded(model: OnnxModel, files: EngineOptions["files"]) {
  // ONNX Runtime refuses names that look like absolute paths, even of bytes that it is handed.
  const names = new Map<string, string>()
  const externalData = [...externalEnds(model)].map(([location, end], i) => {
    const path = `weights-${i}`
    names.set(location, path)
    const data = files?.[location]
    if (data !== undefined) checkLength(location, data.length, end, model.graphName)
    return { path, data: data ?? new URL(location, globalThis.location.href).href }
  })
  const named = withExternalData(model, (data) => ({
    ...data,
    location: names.get(data.location) ?? data.location,
  }))
  return { bytes: encodeOnnxModel(named), externalData }
}

export function wakeEngine(): void {
  if (!clients.has(0)) startWorker(0)
}

export function likelyAccelerators(): readonly Device[] {
  return "gpu" in navigator ? ["webgpu"] : []
}

/** Browsers keep drivers away from pages themselves. */
export function timeDevice(device: Device, size: number): Promise<number | undefined> {
  return productMs(openEngine, device, size).catch(() => undefined)
}

function sessionOptions(
  { device, threads, lowMemory = false, freeAfterRun = false, profile }: EngineOptions,
  externalData: { readonly path: string; readonly data: Uint8Array | string }[],
): InferenceSession.SessionOptions {
  return {
    executionProviders: [device === "cpu" ? "wasm" : device],
    externalData,
    logSeverityLevel: 4,
    enableCpuMemArena: !freeAfterRun,
    extra: { session: lowMemory ? { disable_prepacking: "1" } : {} },
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    ...(profile !== undefined && { enableProfiling: true, profileFilePrefix: profile }),
  }
}

function startWorker(lane: number): OrtClient {
  // Written so that bundlers find it: they give the worker a file of its own.
  const worker = new Worker(new URL("./ort-worker.js", import.meta.url), { type: "module" })
  const started = ortClient({
    post: (request, transfer) => worker.postMessage(request, transfer),
    waiting: () => {},
  })
  worker.addEventListener("message", ({ data }) => started.receive(data))
  worker.addEventListener("error", ({ message }) => {
    clients.delete(lane)
    started.lose(`ONNX Runtime's worker failed: ${message}`)
  })
  clients.set(lane, started)
  return started
}
