import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs"
import { memorySource } from "../src/formats/byte-source.ts"
import { encodeSafetensors, readSafetensorsHeader, readTensor } from "../src/formats/safetensors.ts"
import { FormatError } from "../src/ground/errors.ts"
import type { Tensor } from "../src/ground/tensor.ts"

/** Writes a text file beside its place and renames it, so that no reader ever sees half of it. */
export function writeTextFile(path: string, text: string): void {
  writeFileSync(`${path}.part`, text)
  renameSync(`${path}.part`, path)
}

/** Writes a safetensors file beside its place and renames it. */
export function writeTensorFile(path: string, tensors: Readonly<Record<string, Tensor>>): void {
  const file = openSync(`${path}.part`, "w")
  // One write takes at most 2 GB, and may take less than it was given.
  for (const chunk of encodeSafetensors(tensors))
    for (let at = 0; at < chunk.length; )
      at += writeSync(file, chunk, at, Math.min(chunk.length - at, 2 ** 30))
  closeSync(file)
  renameSync(`${path}.part`, path)
}

/** Reads one U8 tensor of a safetensors file. Throws where it is of another type. */
export function readBytesTensor(path: string, name: string): Tensor<"uint8"> {
  const found = readTensor(
    readSafetensorsHeader(memorySource(path, new Uint8Array(readFileSync(path)))),
    name,
  )
  if (!(found.data instanceof Uint8Array) || found.dtype !== "uint8")
    throw new FormatError(`Tensor "${name}" of ${path} holds ${found.dtype}, not bytes: make the file again.`)
  return { dtype: "uint8", shape: found.shape, data: found.data }
}
