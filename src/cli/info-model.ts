import { existsSync, statSync } from "node:fs"
import { join } from "node:path"
import { messageOf } from "../ground/errors.ts"
import { sizeOf } from "../ground/shape.ts"
import { byteLength } from "../ground/tensor.ts"
import { openComponent } from "../pipelines/component.ts"
import { holdsModel, isKolors } from "../pipelines/family.ts"
import { readJsonObject } from "../pipelines/files.ts"
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
  const whole = await holdsModel(folder)
  const path = join(folder, whole ? "model_index.json" : "config.json")
  const index = existsSync(path) ? await readJsonObject(path) : {}
  // Its first publishers gave it the index of an SDXL, and it is known without one.
  const bare = whole && (await isKolors(folder)) && !classNameOf(index).startsWith("Kolors")
  const name = bare ? "Kolors" : classNameOf(index)
  const listed = bare ? await bareParts(folder) : listedParts(index)
  const parts = whole ? await partsOf(folder, listed) : [await weightsOf(folder, "", name)]
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
function listedParts(index: Readonly<Record<string, unknown>>): Part[] {
  return Object.entries(index).flatMap(([name, value]) =>
    Array.isArray(value) && typeof value[1] === "string" ? [{ name, className: value[1] }] : [],
  )
}

/** The parts that say themselves what they are. */
function bareParts(folder: string): Promise<Part[]> {
  const files = {
    text_encoder: "config.json",
    unet: "config.json",
    vae: "config.json",
    scheduler: "scheduler_config.json",
  }
  return Promise.all(
    Object.entries(files).map(async ([name, file]) => {
      const path = join(folder, name, file)
      return { name, className: existsSync(path) ? classNameOf(await readJsonObject(path)) : "unknown" }
    }),
  )
}

function partsOf(folder: string, listed: readonly Part[]): Promise<Part[]> {
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
      bytes: weights.reduce((sum, weight) => sum + byteLength(weight), 0),
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

function classNameOf(json: Readonly<Record<string, unknown>>): string {
  const name = json._class_name ?? (Array.isArray(json.architectures) ? json.architectures[0] : undefined)
  return typeof name === "string" ? name : "unknown"
}
