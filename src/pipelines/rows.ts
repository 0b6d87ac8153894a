import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"

/** Tensors one after the other along their first axis; the other axes agree. */
export function joinRows(tensors: readonly Tensor<"float32">[]): Tensor<"float32"> {
  const [first] = tensors
  if (tensors.length === 1) return first
  const rows = tensors.reduce((sum, t) => sum + t.shape[0], 0)
  const data = new Float32Array((first.data.length / first.shape[0]) * rows)
  let at = 0
  for (const t of tensors) {
    data.set(t.data, at)
    at += t.data.length
  }
  return float32([rows, ...first.shape.slice(1)], data)
}

/** Rows `start` to before `end` of the first axis, over the same memory. */
export function rowsOf(t: Tensor<"float32">, start: number, end: number): Tensor<"float32"> {
  const size = t.data.length / t.shape[0]
  return float32([end - start, ...t.shape.slice(1)], t.data.subarray(start * size, end * size))
}

/** The same numbers in each of `count` rows: [count, n]. */
export function repeatedRow(row: readonly number[], count: number): Tensor<"float32"> {
  return float32(
    [count, row.length],
    new Float32Array(count * row.length).map((_, i) => row[i % row.length]),
  )
}

/** x [B, C, h, w] with the channels of `more` [B, C2, h, w] after its own: [B, C + C2, h, w]. */
export function withChannels(x: Tensor<"float32">, more: Tensor<"float32"> | undefined): Tensor<"float32"> {
  if (more === undefined) return x
  const [rows, channels, ...places] = x.shape
  const pairs = Array.from({ length: rows }, (_, n) => [rowsOf(x, n, n + 1), rowsOf(more, n, n + 1)]).flat()
  const data = new Float32Array(x.data.length + more.data.length)
  let at = 0
  for (const row of pairs) {
    data.set(row.data, at)
    at += row.data.length
  }
  return float32([rows, channels + more.shape[1], ...places], data)
}

/** x * factor. */
export function scaled(x: Tensor<"float32">, factor: number): Tensor<"float32"> {
  if (factor === 1) return x
  return float32(
    x.shape,
    x.data.map((v) => v * factor),
  )
}
