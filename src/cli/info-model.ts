import { existsSync, statSync } from "node:fs"
import { join } from "node:path"
import { bytesPerElement } from "../ground/dtype.ts"
import { FormatError, messageOf } from "../ground/errors.ts"
import { sizeOf } from "../ground/shape.ts"
import { openComponent } from "../pipelines/component.ts"
import { readJson } from "../pipelines/files.ts"
import type { Description } from "./description.ts"
import { formatBytes, formatCount, formatTable } from "./format.ts"

/** One part of a model, as far as its files tell. */
interface Part {
  readonly name: string
  readonly className: string
  readonly parameters?: number
  readonly dtypes?: readonly string[]
  readonly bytes?: number
  /** Why its weights could not be counted. */
  readonly problem?: string
}

/** A model's folder, or that of one of its parts: what each part is and how large. No weight is read. */
export async function describeModel(folder: string): Promise<Description> {
  const whole = existsSync(join(folder, "model_index.json"))
  const index = await readObject(join(folder, whole ? "model_index.json" : "config.json"))
  const name = classNameOf(index)
  const parts = whole ? await partsOf(folder, index) : [await weightsOf(folder, "", name)]
  const total = (key: "parameters" | "bytes") => parts.reduce((sum, part) => sum + (part[key] ?? 0), 0)
  const rows = parts.map(rowOf)
  if (parts.length > 1)
    rows.push(["in all", "", formatCount(total("parameters")), "", formatBytes(total("bytes"))])
  const problems = parts.flatMap(({ problem }) => (problem === undefined ? [] : [problem]))
  return {
    text: [
      `${folder}\n${whole ? "A model" : "A part of a model"}: ${name}`,
      formatTable([["part", "class", "parameters", "type", "size"], ...rows], [2, 4]),
      ...problems,
    ].join("\n\n"),
    json: {
      kind: whole ? "model" : "component",
      path: folder,
      class: name,
      parameters: total("parameters"),
      bytes: total("bytes"),
      components: parts,
    },
  }
}

/** The index lists each part as [library, class]; [null, null] where the model goes without it. */
function partsOf(folder: string, index: Readonly<Record<string, unknown>>): Promise<Part[]> {
  const listed = Object.entries(index).flatMap(([name, value]) =>
    Array.isArray(value) && typeof value[1] === "string" ? [{ name, className: value[1] }] : [],
  )
  return Promise.all(
    listed.map(async ({ name, className }) => {
      const path = join(folder, name)
      if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
        return { name, className, problem: `The folder ${path} is missing.` }
      // Tokenizers and schedulers have settings only.
      return existsSync(join(path, "config.json")) ? weightsOf(path, name, className) : { name, className }
    }),
  )
}

async function weightsOf(folder: string, name: string, className: string): Promise<Part> {
  try {
    const weights = [...(await openComponent(folder)).tensors.values()]
    return {
      name,
      className,
      parameters: weights.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
      dtypes: [...new Set(weights.map(({ dtype }) => dtype))],
      bytes: weights.reduce((sum, { dtype, shape }) => sum + sizeOf(shape) * bytesPerElement(dtype), 0),
    }
  } catch (error) {
    return { name, className, problem: messageOf(error) }
  }
}

function rowOf({ name, className, parameters, dtypes, bytes, problem }: Part): string[] {
  if (problem !== undefined) return [name, className, "?", "", "?"]
  if (parameters === undefined || bytes === undefined) return [name, className, "", "", ""]
  return [name, className, formatCount(parameters), dtypes?.join(", ") ?? "", formatBytes(bytes)]
}

async function readObject(path: string): Promise<Readonly<Record<string, unknown>>> {
  const json = await readJson(path)
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new FormatError(`${path} is not a JSON object; fetch it again.`)
  return json as Readonly<Record<string, unknown>>
}

function classNameOf(json: Readonly<Record<string, unknown>>): string {
  const name = json._class_name ?? (Array.isArray(json.architectures) ? json.architectures[0] : undefined)
  return typeof name === "string" ? name : "unknown"
}
