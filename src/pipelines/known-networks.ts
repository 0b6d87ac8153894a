import { absolutePath, exists, list } from "#platform"
import type { OnnxHeader } from "../formats/onnx-header.ts"
import { FormatError, UsageError } from "../ground/errors.ts"
import type { OnnxFile } from "../runtime/onnx-file.ts"
import { readOnnxFile } from "../runtime/onnx-file.ts"

/** A kind of network that is known by what it takes and gives, whatever its file is called. */
export interface NetworkKind {
  /** What one does and how it is known, as in "finds faces, which one with 9 outputs does, as det_10g.onnx". */
  readonly does: string
  is(header: OnnxHeader): boolean
}

/** How errors speak of networks that belong together. */
export interface NetworkWords {
  /** What they are, as in "face models". */
  readonly what: string
  /** What to give, as in "the folder of insightface's antelopev2". */
  readonly give: string
}

/**
 * Reads a network of each kind among the ONNX files at some places, which are folders or files; of several the first by
 * name. Throws a UsageError where there is nothing at a place, a FormatError that tells what there is instead where a kind
 * is missing.
 */
export async function findNetworks<K extends string>(
  places: string | readonly string[],
  kinds: Readonly<Record<K, NetworkKind>>,
  words: NetworkWords,
): Promise<Readonly<Record<K, OnnxFile>>> {
  const files: string[] = []
  for (const place of [places].flat()) files.push(...(await onnxFilesAt(place, words)))
  const names = Object.keys(kinds) as K[]
  const seen: Pick<OnnxFile, "path" | "header">[] = []
  const found: Partial<Record<K, OnnxFile>> = {}
  for (const path of files) {
    if (names.every((name) => found[name] !== undefined)) break
    const file = await readOnnxFile(path)
    // Without its bytes, which may be hundreds of megabytes.
    seen.push({ path, header: file.header })
    const name = names.find((one) => kinds[one].is(file.header))
    if (name !== undefined) found[name] ??= file
  }
  for (const name of names)
    if (found[name] === undefined)
      throw new FormatError(
        `No file at ${[places].flat().join(", ")} ${kinds[name].does}; there is ${seen.map(told).join("; ")}.`,
      )
  return found as Record<K, OnnxFile>
}

async function onnxFilesAt(place: string, { what, give }: NetworkWords): Promise<string[]> {
  const path = absolutePath(place)
  if (!(await exists(path))) throw new UsageError(`There are no ${what} at ${place}; give ${give}.`)
  if (isOnnx(path)) return [path]
  // What cannot be listed is a file of another kind.
  const names = (await list(path).catch(() => [])).filter(isOnnx)
  if (names.length === 0) throw new UsageError(`${place} holds no .onnx file; give ${give}.`)
  return names.map((name) => absolutePath(path, name))
}

function isOnnx(path: string): boolean {
  return /\.onnx$/i.test(path)
}

/** A file by its name, and what it gives. */
function told({ path, header: { outputs } }: Pick<OnnxFile, "path" | "header">): string {
  const shown = outputs.slice(0, 9).map(({ name, shape }) => `${name} [${shape.join(", ")}]`)
  return `${path.replace(/^.*[\\/]/, "")} with the outputs ${shown.join(", ") || "none"}`
}
