import { recognitionSize } from "../models/arcface.ts"
import { SCRFD_OUTPUTS } from "../models/scrfd.ts"
import type { OnnxFile } from "../runtime/onnx-file.ts"
import { findNetworks } from "./known-networks.ts"
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
 * Reads the two networks among the ONNX files at some places. Throws a UsageError where there is nothing at a place, a
 * FormatError that tells what there is instead where one of the two is missing.
 */
export async function readFaceModels(places: FaceModelPlaces): Promise<FaceModelFiles> {
  const found = await findNetworks(
    places,
    {
      detector: {
        does: `finds faces, which one with ${SCRFD_OUTPUTS} outputs does, as scrfd_10g_bnkps.onnx`,
        is: (header) => takesPictures(header) && header.outputs.length === SCRFD_OUTPUTS,
      },
      recogniser: {
        does: "recognises faces, which one from a square picture to one output does, as glintr100.onnx",
        is: (header) => recognitionSize(header) !== undefined,
      },
    },
    { what: "face models", give: "the folder of insightface's antelopev2 or buffalo_l" },
  )
  return { ...found, size: recognitionSize(found.recogniser.header)! }
}
