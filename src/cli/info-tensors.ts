import { formatShape, sizeOf } from "../ground/shape.ts"
import { likenessOf } from "../models/likeness.ts"
import { formatLoraSummary, summarizeLora } from "../models/lora-summary.ts"
import type { TensorEntry, TensorFile } from "../pipelines/tensor-file.ts"
import { withTensorFile } from "../pipelines/tensor-file.ts"
import type { Description } from "./description.ts"
import { formatBytes, formatCount, formatTable } from "./format.ts"

/** Lines of tensors shown to people; programs get all. */
const MAX_LINES = 60

/** What the names of a checkpoint's tensors begin with, part by part. */
const parts: readonly (readonly [part: string, beginning: RegExp])[] = [
  ["unet", /^model\.diffusion_model\./],
  ["vae", /^first_stage_model\./],
  ["text encoder", /^(cond_stage_model|conditioner\.embedders\.0)\./],
  ["second text encoder", /^conditioner\.embedders\.1\./],
  ["average of the unet", /^model_ema\./],
]

/**
 * A safetensors or PyTorch file: what its tensors look like, part by part where it is a whole model; its tensors, those
 * that differ only in numbers of their names on one line; and its metadata.
 */
export function describeTensors(path: string): Promise<Description> {
  return withTensorFile(path, describe)
}

function describe({ path, format, bytes, metadata, tensors }: TensorFile): Description {
  const entries = [...tensors].map(([name, entry]) => ({ name, ...entry }))
  const lora = summarizeLora(tensors)
  const likeness = likenessOf(tensors)
  const runs = likeness?.runs !== undefined
  const family = lora === undefined ? likeness?.name : formatLoraSummary(lora)
  const components = partsOf(entries)
  const lines = linesOf(entries)
  const left = lines.length - MAX_LINES
  const sections = [
    `${path}\nA ${format} file of ${formatBytes(bytes)}: ${formatCount(entries.length)} tensors, ${formatCount(numbersOf(entries))} numbers (${types(entries)})${family === undefined ? "" : `\nLooks like ${family}${runs ? ", which limn runs" : ""}`}`,
    formatTable(Object.entries(metadata).map(([key, value]) => [key, clip(value)])),
    components.length === 0 ? "" : formatTable(rowsOf(components), [1, 3]),
    formatTable(lines.slice(0, MAX_LINES), [0]),
    left > 0 ? `... and ${formatCount(left)} more lines; --json lists every tensor.` : "",
  ]
  return {
    text: sections.filter((section) => section !== "").join("\n\n"),
    json: {
      kind: format.toLowerCase(),
      path,
      bytes,
      family,
      runs,
      lora,
      parameters: numbersOf(entries),
      metadata,
      components,
      tensors: entries.map(listed),
    },
  }
}

interface Named extends TensorEntry {
  readonly name: string
}

/** One part of a model in a single file. */
interface Part {
  readonly name: string
  readonly parameters: number
  readonly dtypes: readonly string[]
  readonly bytes: number
}

/** The parts of a model that is whole in one file; none of any other file. */
function partsOf(entries: readonly Named[]): Part[] {
  return parts.flatMap(([name, beginning]) => {
    const held = entries.filter((entry) => beginning.test(entry.name))
    if (held.length === 0) return []
    const bytes = held.reduce((sum, { length }) => sum + length, 0)
    return [{ name, parameters: numbersOf(held), dtypes: dtypesOf(held), bytes }]
  })
}

function rowsOf(components: readonly Part[]): string[][] {
  const rows = components.map(({ name, parameters, dtypes, bytes }) => [
    name,
    formatCount(parameters),
    dtypes.join(", "),
    formatBytes(bytes),
  ])
  return [["part", "parameters", "type", "size"], ...rows]
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

function numbersOf(entries: readonly Named[]): number {
  return entries.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
}

function dtypesOf(entries: readonly Named[]): string[] {
  return [...new Set(entries.map(({ storedAs }) => storedAs))]
}

function types(entries: readonly Named[]): string {
  return dtypesOf(entries).join(", ") || "empty"
}

function clip(value: string): string {
  const line = value.replace(/\s+/g, " ")
  return line.length > 100 ? `${line.slice(0, 100)}...` : line
}
