import { build, toOnnx } from "../graph/build.ts"
import { input } from "../graph/node.ts"
import { attention } from "../graph/ops/products.ts"
import { float32 } from "../ground/tensor.ts"
import type { Device } from "./session.ts"
import { openSession } from "./session.ts"

const answers = new Map<Device, Promise<boolean>>()

/**
 * Whether a device's kernel for attention is right. That of WebGPU counts some keys twice where the adapter has subgroups of
 * eight lanes or fewer, as those that imitate a GPU have. Asked once a process, of WebGPU alone.
 */
export function fusesAttention(device: Device): Promise<boolean> {
  if (device !== "webgpu") return Promise.resolve(true)
  const answer = answers.get(device) ?? averages(device)
  answers.set(device, answer)
  return answer
}

/** Whether attention that weighs ones alike gives ones. */
async function averages(device: Device): Promise<boolean> {
  const [queries, keys, width] = [64, 64, 8]
  const [q, k, v] = [
    input("q", "float32", [1, queries, width]),
    ...["k", "v"].map((name) => input(name, "float32", [1, keys, width])),
  ]
  const session = await openSession(toOnnx(build({ y: attention(q, k, v, { heads: 1 }) }), { device }), {
    device,
  })
  const zeros = (rows: number) => float32([1, rows, width], new Float32Array(rows * width))
  const ones = float32([1, keys, width], new Float32Array(keys * width).fill(1))
  const { y } = await session.run({ q: zeros(queries), k: zeros(keys), v: ones })
  await session.close()
  return y.data.every((value: number | bigint) => Math.abs(Number(value) - 1) < 1e-3)
}
