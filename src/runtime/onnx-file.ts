import { readBytes } from "#platform"
import type { OnnxHeader } from "../formats/onnx-header.ts"
import { readOnnxHeader } from "../formats/onnx-header.ts"
import type { Session, SessionOptions } from "./session.ts"
import { sessionOf } from "./session.ts"

/** An ONNX file that somebody else exported, read and not yet loaded. */
export interface OnnxFile {
  readonly path: string
  readonly header: OnnxHeader
  /** Loads it, once; its bytes are given away. Throws as `openSession` does. */
  open(options: SessionOptions): Promise<Session>
}

/** Reads an ONNX file. Throws a LimnError where there is none, and as `readOnnxHeader` does. */
export async function readOnnxFile(path: string): Promise<OnnxFile> {
  const bytes = await readBytes(path)
  const header = readOnnxHeader(bytes, path)
  return { path, header, open: (options) => sessionOf(header, { graphName: path, bytes }, options) }
}
