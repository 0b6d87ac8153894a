import { openByteSource } from "#platform"
import type { SafetensorsEntry, SafetensorsFile } from "../formats/safetensors.ts"
import { readSafetensorsHeader } from "../formats/safetensors.ts"
import { formatShape, sizeOf } from "../ground/shape.ts"
import type { Description } from "./description.ts"
import { formatBytes, formatCount, formatTable } from "./format.ts"

/** Lines of tensors shown to people; programs get all. */
const MAX_LINES = 60

/** A safetensors file: its tensors, those that differ only in numbers of their names on one line, and its metadata. */
export async function describeSafetensors(path: string): Promise<Description> {
  const { source, metadata, tensors } = await readHeader(path)
  const entries = [...tensors].map(([name, entry]) => ({ name, ...entry }))
  const parameters = entries.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const lines = linesOf(entries)
  const left = lines.length - MAX_LINES
  const parts = [
    `${path}\nA safetensors file of ${formatBytes(source.size)}: ${formatCount(entries.length)} tensors, ${formatCount(parameters)} numbers (${types(entries)})`,
    formatTable(Object.entries(metadata).map(([key, value]) => [key, clip(value)])),
    formatTable(lines.slice(0, MAX_LINES), [0]),
    left > 0 ? `... and ${formatCount(left)} more lines; --json lists every tensor.` : "",
  ]
  return {
    text: parts.filter((part) => part !== "").join("\n\n"),
    json: {
      kind: "safetensors",
      path,
      bytes: source.size,
      parameters,
      metadata,
      tensors: entries.map(listed),
    },
  }
}

async function readHeader(path: string): Promise<SafetensorsFile> {
  const source = await openByteSource(path)
  try {
    return readSafetensorsHeader(source)
  } finally {
    source.close()
  }
}

interface Named extends SafetensorsEntry {
  readonly name: string
}

function listed({ name, storedAs, shape, offset, length }: Named) {
  return { name, dtype: storedAs, shape, offset, bytes: length }
}

/** `blocks.0.weight` and `blocks.1.weight` of one shape are a line: "2 x", `blocks.*.weight`. */
function linesOf(entries: readonly Named[]): string[][] {
  const counts = new Map<string, number>()
  for (const { name, storedAs, shape } of entries) {
    const key = [name.replace(/(?<=^|\.)\d+(?=\.|$)/g, "*"), storedAs, formatShape(shape)].join("\0")
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return [...counts].map(([key, count]) => [count > 1 ? `${count} x` : "", ...key.split("\0")])
}

function types(entries: readonly Named[]): string {
  return [...new Set(entries.map(({ storedAs }) => storedAs))].join(", ") || "empty"
}

function clip(value: string): string {
  const line = value.replace(/\s+/g, " ")
  return line.length > 100 ? `${line.slice(0, 100)}...` : line
}
