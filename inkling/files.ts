import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs"

/** Writes a file beside its place and renames it, so that no reader ever sees half of it. */
export function writeFileWhole(path: string, text: string): void {
  writeFileSync(`${path}.part`, text)
  renameSync(`${path}.part`, path)
}

/** Writes one U8 tensor, given as consecutive parts, as a safetensors file. */
export function writeTensorFile(
  path: string,
  name: string,
  shape: readonly number[],
  parts: readonly Uint8Array[],
): void {
  const bytes = shape.reduce((a, b) => a * b, 1)
  let header = JSON.stringify({ [name]: { dtype: "U8", shape, data_offsets: [0, bytes] } })
  header = header.padEnd(Math.ceil(header.length / 8) * 8)
  const file = openSync(`${path}.part`, "w")
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true)
  for (const part of [length, new TextEncoder().encode(header), ...parts])
    for (let at = 0; at < part.length; ) at += writeSync(file, part, at)
  closeSync(file)
  renameSync(`${path}.part`, path)
}

/** The bytes of the only tensor of a safetensors file. */
export function readTensorFile(path: string, name: string): Uint8Array {
  const file = readFileSync(path)
  const length = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<
    string,
    { data_offsets: number[] }
  >
  const [start, end] = header[name].data_offsets
  return new Uint8Array(file.buffer, file.byteOffset + 8 + length + start, end - start)
}
