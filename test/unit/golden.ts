import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { expect } from "vitest"
import { memorySource } from "../../src/formats/byte-source.ts"
import { readSafetensorsHeader, readTensor } from "../../src/formats/safetensors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { toFloat32 } from "../../src/ground/tensor.ts"
import { parsePythonJson } from "../../src/pipelines/files.ts"

/** Where the tensors lie that reference/ made with diffusers. */
export const goldenFolder = join(import.meta.dirname, "../golden")

/** Names of the folders, or of the case files, of one golden folder. */
export function goldenNames(folder: string, pattern = /^[^.]+$/): string[] {
  return readdirSync(join(goldenFolder, folder)).filter((name) => pattern.test(name))
}

/** Every tensor of a golden file, by name. */
export function goldenTensors(file: string): Record<string, Tensor> {
  return tensorsIn(join(goldenFolder, file))
}

/** Every tensor of a safetensors file, by name. */
export function tensorsIn(path: string): Record<string, Tensor> {
  const header = readSafetensorsHeader(memorySource(path, readFileSync(path)))
  return Object.fromEntries([...header.tensors.keys()].map((name) => [name, readTensor(header, name)]))
}

/** A golden JSON file. */
export function goldenJson<T>(file: string): T {
  return parsePythonJson(readFileSync(join(goldenFolder, file), "utf8")) as T
}

/** The largest difference between two tensors over the largest reference value. */
export function relativeDifference(actual: Tensor, reference: Tensor): number {
  expect(actual.shape).toEqual(reference.shape)
  const a = toFloat32(actual).data
  const b = toFloat32(reference).data
  let largest = 0
  let difference = 0
  for (let i = 0; i < b.length; i++) {
    largest = Math.max(largest, Math.abs(b[i]))
    // Not Math.max, which a NaN would pass through unseen by the comparison below.
    if (!(Math.abs(a[i] - b[i]) <= difference)) difference = Math.abs(a[i] - b[i])
  }
  return difference / largest
}

/** The cosine of the angle between two tensors. */
export function cosineOf(a: Tensor, b: Tensor): number {
  const [x, y] = [toFloat32(a).data, toFloat32(b).data]
  let [xy, xx, yy] = [0, 0, 0]
  for (const [i, value] of x.entries()) {
    xy += value * y[i]
    xx += value * value
    yy += y[i] * y[i]
  }
  return xy / Math.sqrt(xx * yy)
}
