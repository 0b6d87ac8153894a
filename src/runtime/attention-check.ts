import { build, toOnnx } from "../graph/build.ts"
import { input } from "../graph/node.ts"
import { attention } from "../graph/ops/products.ts"
import { float32, toFloat32 } from "../ground/tensor.ts"
import type { Device } from "./session.ts"
import { openSession } from "./session.ts"

const answers = new Map<Device, Promise<boolean>>()

/**
 * Whether a device's kernel for attention is right. That of WebGPU counts some keys twice on adapters that imitate a GPU,
 * which have narrow subgroups. Asked once a process, of WebGPU alone.
 */
export function fusesAttention(device: Device): Promise<boolean> {
  if (device !== "webgpu") return Promise.resolve(true)
  const answer = answers.get(device) ?? averages(device)
  answers.set(device, answer)
  return answer
}

/** Whether attention finds where the middle of what it weighs is. */
async function averages(device: Device): Promise<boolean> {
  const [queries, keys, width] = [64, 32, 8]
  const row = (scale: number) => (_: unknown, i: number) => scale * Math.floor(i / width)
  const feeds = {
    q: float32([1, queries, width], new Float32Array(queries * width).fill(1)),
    k: float32([1, keys, width], Array.from({ length: keys * width }, row(0.03))),
    v: float32([1, keys, width], Array.from({ length: keys * width }, row(1))),
  }
  const [q, k, v] = Object.entries(feeds).map(([name, { dtype, shape }]) => input(name, dtype, shape))
  const graph = build({ y: attention(q, k, v, { heads: 1, scale: 1 }) })
  const session = await openSession(toOnnx(graph, { device }), { device })
  const { y } = await session.run(feeds)
  await session.close()
  const weights = Array.from({ length: keys }, (_, i) => Math.exp(0.03 * width * i))
  const sum = weights.reduce((total, weight) => total + weight)
  const middle = weights.reduce((total, weight, i) => total + (weight / sum) * i, 0)
  return [...toFloat32(y).data].every((value) => Math.abs(value - middle) < 1e-3 * keys)
}
