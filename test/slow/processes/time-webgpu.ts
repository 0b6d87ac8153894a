import { timeDevice } from "../../../src/runtime/platform/node/index.ts"

/** Prints how long a small product takes on WebGPU, or undefined where there is none. */
console.log(await timeDevice("webgpu", 64))
