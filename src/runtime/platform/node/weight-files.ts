import { realpath, stat } from "node:fs/promises"
import { dirname, isAbsolute, relative, sep } from "node:path"
import type { ExternalData, OnnxModel } from "../../../formats/onnx.ts"
import { LimnError } from "../../../ground/errors.ts"
import { checkLength, externalEnds, withExternalData } from "../external-data.ts"

/** A model whose external data lies where ONNX Runtime accepts it. */
export interface PlacedModel {
  readonly model: OnnxModel
  /** The folder that its locations are relative to; absent where no weight is in a file. */
  readonly folder?: string
}

/**
 * Gives every location of a model's external data the form that ONNX Runtime takes. It refuses absolute paths, `..`
 * and links that leave its folder, while Hub caches are made of links: so links are followed first, and the folder is
 * the nearest one above all the real files. Weights that lie in `files` go into the model itself, since ONNX Runtime
 * takes bytes or files, never both.
 */
export async function placeWeights(
  model: OnnxModel,
  files: Readonly<Record<string, Uint8Array>> = {},
): Promise<PlacedModel> {
  const paths = new Map<string, string>()
  for (const [location, end] of externalEnds(model)) {
    const bytes = files[location]
    if (bytes === undefined) paths.set(location, await realFile(location, end, model.graphName))
    else checkLength(location, bytes.length, end, model.graphName)
  }
  const folder = [...paths.values()].map(dirname).reduce(commonFolder, undefined)
  const place = (data: ExternalData): Uint8Array | ExternalData => {
    const path = paths.get(data.location)
    if (path === undefined || folder === undefined)
      return files[data.location].subarray(data.offset, data.offset + data.length)
    return { ...data, location: relative(folder, path).replaceAll(sep, "/") }
  }
  return { model: withExternalData(model, place), folder }
}

/** The real path of a file of weights that reaches at least to byte `end`. */
async function realFile(location: string, end: number, graph: string): Promise<string> {
  if (!isAbsolute(location))
    throw new LimnError(
      `The weights of ${graph} are in "${location}", which is neither an absolute path nor one of the files given.`,
    )
  const path = await realpath(location).catch(() => {
    throw new LimnError(`The weights of ${graph} should be in ${location}, and there is no such file.`)
  })
  checkLength(location, (await stat(path)).size, end, graph)
  return path
}

/** The deepest folder that holds both. */
function commonFolder(a: string | undefined, b: string): string {
  if (a === undefined) return b
  for (let folder = a; ; folder = dirname(folder)) {
    const way = relative(folder, b)
    if (way.split(sep)[0] !== ".." && !isAbsolute(way)) return folder
    if (folder === dirname(folder))
      throw new LimnError(`Weights in ${a} and in ${b} cannot be used together: put them on one drive.`)
  }
}
