import { ortHost } from "../ort-host.ts"

/** The Web Worker that ONNX Runtime blocks: one for the whole page. */

const receive = ortHost({
  // The build with WebGPU can use the CPU too, but slower: its code is made to be suspended anywhere.
  async load({ executionProviders: [device] = [], intraOpNumThreads = navigator.hardwareConcurrency }) {
    const ort =
      device === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm")
    // Threads need shared memory, which a page has only where its server says that it is isolated.
    ort.env.wasm.numThreads = crossOriginIsolated ? intraOpNumThreads : 1
    ort.env.logLevel = "fatal"
    return ort
  },
  reply: (reply, transfer) => postMessage(reply, { transfer }),
})

addEventListener("message", ({ data }) => receive(data))
