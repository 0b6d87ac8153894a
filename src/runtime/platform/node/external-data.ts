import { realpath, stat } from "node:fs/promises"
import { dirname, isAbsolute, relative, sep } from "node:path"
import type { OnnxModel } from "../../../formats/onnx.ts"
import { FormatError, LimnError } from "../../../ground/errors.ts"

/** A model whose external data ONNX Runtime accepts, and the folder that its locations are relative to. */
export interface PlacedModel {
  readonly model: OnnxModel
  /** Absent where no weight is in a file. */
  readonly folder?: string
}

/**
 * Rewrites every absolute location of a model relative to one folder. ONNX Runtime refuses absolute locations, `..`
 * and links that leave the folder, while Hub caches are made of links: so links are followed first, and the folder is
 * the nearest one above all the real files. Locations among `inMemory` are left alone.
 */
export async function placeExternalData(
  model: OnnxModel,
  inMemory: ReadonlySet<string> = new Set(),
): Promise<PlacedModel> {
  const ends = new Map<string, number>()
  for (const { data } of model.initializers)
    if ("location" in data && !inMemory.has(data.location))
      ends.set(data.location, Math.max(ends.get(data.location) ?? 0, data.offset + data.length))
  if (ends.size === 0) return { model }

  const real = new Map<string, string>()
  for (const [location, end] of ends) real.set(location, await weightsFile(location, end, model.graphName))
  const folder = [...real.values()].map(dirname).reduce(commonFolder)
  const initializers = model.initializers.map((initializer) => {
    const { data } = initializer
    const path = "location" in data ? real.get(data.location) : undefined
    return path === undefined
      ? initializer
      : { ...initializer, data: { ...data, location: relative(folder, path).replaceAll(sep, "/") } }
  })
  return { model: { ...model, initializers }, folder }
}

/** The real path of a file of weights that reaches at least to byte `end`. */
async function weightsFile(location: string, end: number, graph: string): Promise<string> {
  if (!isAbsolute(location))
    throw new LimnError(
      `The weights of ${graph} are in "${location}", which is neither an absolute path nor one of the files given.`,
    )
  let path: string
  try {
    path = await realpath(location)
  } catch {
    throw new LimnError(`The weights of ${graph} should be in ${location}, and there is no such file.`)
  }
  const { size } = await stat(path)
  if (size < end)
    throw new FormatError(
      `${location} has ${size} bytes, and the weights of ${graph} reach to byte ${end}: the file is cut short, fetch it again.`,
    )
  return path
}

/** The deepest folder that both lie in. */
function commonFolder(a: string, b: string): string {
  let folder = a
  while (relative(folder, b).split(sep)[0] === ".." || isAbsolute(relative(folder, b))) {
    const parent = dirname(folder)
    if (parent === folder)
      throw new LimnError(`Weights in ${a} and in ${b} cannot be used together: put them on one drive.`)
    folder = parent
  }
  return folder
}
