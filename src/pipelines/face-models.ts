import { absolutePath, exists, list } from "#platform"
import { FormatError, UsageError } from "../ground/errors.ts"
import { recognitionSize } from "../models/arcface.ts"
import { SCRFD_OUTPUTS } from "../models/scrfd.ts"
import type { OnnxFile } from "../runtime/onnx-file.ts"
import { readOnnxFile } from "../runtime/onnx-file.ts"
import { takesPictures } from "./picture-network.ts"

/** The two networks that read faces, as insightface publishes them. */
export interface FaceModelFiles {
  /** scrfd_10g_bnkps.onnx, det_10g.onnx: finds faces, and five points of each. */
  readonly detector: OnnxFile
  /** glintr100.onnx, w600k_r50.onnx: a face as numbers that are near each other for faces of one person. */
  readonly recogniser: OnnxFile
  /** Pixels along each side of the faces that it takes. */
  readonly size: number
}

/** Where insightface's networks are: a folder with them, such as antelopev2 or buffalo_l, or files. */
export type FaceModelPlaces = string | readonly string[]

/**
 * Reads the two networks among the ONNX files at some places, known by what they take and give, whatever they are called;
 * of several the first by name. Throws a UsageError where there is nothing at a place, a FormatError that tells what there
 * is instead where one of the two is missing.
 */
export async function readFaceModels(places: FaceModelPlaces): Promise<FaceModelFiles> {
  const files: string[] = []
  for (const place of [places].flat()) files.push(...(await onnxFilesAt(place)))
  const seen: Pick<OnnxFile, "path" | "header">[] = []
  let detector: OnnxFile | undefined
  let recogniser: OnnxFile | undefined
  for (const path of files) {
    if (detector !== undefined && recogniser !== undefined) break
    const file = await readOnnxFile(path)
    // Without its bytes, which may be hundreds of megabytes.
    seen.push({ path, header: file.header })
    if (takesPictures(file.header) && file.header.outputs.length === SCRFD_OUTPUTS) detector ??= file
    else if (recognitionSize(file.header) !== undefined) recogniser ??= file
  }
  if (detector === undefined)
    throw new FormatError(
      `No file at ${[places].flat().join(", ")} finds faces, which one with ${SCRFD_OUTPUTS} outputs does, as scrfd_10g_bnkps.onnx; there is ${seen.map(told).join("; ")}.`,
    )
  if (recogniser === undefined)
    throw new FormatError(
      `No file at ${[places].flat().join(", ")} recognises faces, which one from a square picture to one output does, as glintr100.onnx; there is ${seen.map(told).join("; ")}.`,
    )
  return { detector, recogniser, size: recognitionSize(recogniser.header)! }
}

async function onnxFilesAt(place: string): Promise<string[]> {
  const path = absolutePath(place)
  if (!(await exists(path)))
    throw new UsageError(
      `There are no face models at ${place}; give the folder of insightface's antelopev2 or buffalo_l.`,
    )
  if (isOnnx(path)) return [path]
  // What cannot be listed is a file of another kind.
  const names = (await list(path).catch(() => [])).filter(isOnnx)
  if (names.length === 0)
    throw new UsageError(
      `${place} holds no .onnx file; give the folder of insightface's antelopev2 or buffalo_l.`,
    )
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
