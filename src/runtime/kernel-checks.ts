import { build, toOnnx } from "../graph/build.ts"
import { constant, input, node } from "../graph/node.ts"
import { attention } from "../graph/ops/products.ts"
import type { Value } from "../graph/value.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32, tensor, toFloat32 } from "../ground/tensor.ts"
import type { Device } from "./session.ts"
import { openSession } from "./session.ts"

/** Questions to ONNX Runtime's kernels whose answers are known, since some kernels are wrong on some machines. */

const answers = new Map<string, Promise<boolean>>()

/** What was answered before in this process; a question that failed is asked again. */
function askedOnce(question: string, ask: () => Promise<boolean>): Promise<boolean> {
  const answer = answers.get(question) ?? ask()
  answers.set(question, answer)
  answer.catch(() => answers.delete(question))
  return answer
}

/**
 * Whether a device's kernel for attention is right. That of WebGPU counts some keys twice on adapters that imitate a GPU,
 * which have narrow subgroups. Asked once a process, of WebGPU alone.
 */
export function fusesAttention(device: Device): Promise<boolean> {
  if (device !== "webgpu") return Promise.resolve(true)
  return askedOnce(`attention on ${device}`, () => averages(device))
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
  const given = await computed(attention(q, k, v, { heads: 1, scale: 1 }), feeds, device)
  const weights = Array.from({ length: keys }, (_, i) => Math.exp(0.03 * width * i))
  const sum = weights.reduce((total, weight) => total + weight)
  const middle = weights.reduce((total, weight, i) => total + (weight / sum) * i, 0)
  return given.every((value) => Math.abs(value - middle) < 1e-3 * keys)
}

/**
 * Whether the CPU's sums of products of integers of eight bits are exact, told by the largest ones: before VNNI, sums of two
 * are cut at 16 bits. Asked once a process: Kolors asks for its denoiser and for its texts.
 */
export function sumsIntegers(): Promise<boolean> {
  return askedOnce("sums of integers", addsUp)
}

async function addsUp(): Promise<boolean> {
  const [rows, wide] = [16, 64]
  const weight = tensor("int8", [wide, rows], new Int8Array(wide * rows).fill(127))
  const scales = float32([rows], new Float32Array(rows).fill(1))
  const x = float32([rows, wide], new Float32Array(rows * wide).fill(1))
  const y = node("int8Matmul", [input("x", x.dtype, x.shape), constant(weight), constant(scales)], {
    perRow: false,
  })
  const given = await computed(y, { x }, "cpu")
  return given.every((sum) => Math.abs(sum - 127 * wide) <= 1)
}

async function computed(
  y: Value,
  feeds: Readonly<Record<string, Tensor>>,
  device: Device,
): Promise<Float32Array> {
  const session = await openSession(toOnnx(build({ y }), { device }), { device })
  const results = await session.run(feeds)
  await session.close()
  return toFloat32(results.y).data
}
