import type { DType } from "../ground/dtype.ts"
import { FormatError } from "../ground/errors.ts"
import type { OnnxSignature, OnnxValueInfo } from "./onnx.ts"
import { dataTypes } from "./onnx.ts"
import type { WireField } from "./protobuf-reader.ts"
import { wireFields } from "./protobuf-reader.ts"

/** What an ONNX file says of itself, its weights aside. */
export interface OnnxHeader extends OnnxSignature {
  /** Names of its nodes, in order. */
  readonly nodeNames: readonly string[]
}

/** `TensorProto.DataLocation.EXTERNAL`. */
const EXTERNAL = 1

/**
 * Reads what the graph of an ONNX file takes and gives (onnx.proto, ModelProto); what errors call it is `file`. Weights
 * that are listed among the inputs are none; an axis of any size is a string, alike where the file says that they are.
 * Throws a FormatError where it is no such file, or leaves weights in another one, or has inputs of types that limn has not.
 */
export function readOnnxHeader(bytes: Uint8Array, file: string): OnnxHeader {
  const graph = messages(bytes, file, 7).at(-1)
  if (graph === undefined) throw new FormatError(`${file} holds no ONNX graph; is it the file itself?`)
  const nodeNames: string[] = []
  const inputs: Uint8Array[] = []
  const outputs: Uint8Array[] = []
  const weights = new Set<string>()
  for (const { field, kind, value } of wireFields(graph, file)) {
    if (kind !== "bytes") continue
    if (field === 1) nodeNames.push(textOf(value, file, 3))
    if (field === 5) {
      const name = textOf(value, file, 8)
      weights.add(name)
      if (integerOf(value, file, 14) === EXTERNAL)
        throw new FormatError(
          `${file} keeps its weight ${name} in another file; give one that holds them all.`,
        )
    }
    if (field === 11) inputs.push(value)
    if (field === 12) outputs.push(value)
  }
  const info = (value: Uint8Array) => valueInfo(value, file)
  return {
    graphName: file,
    nodeNames,
    inputs: inputs.filter((value) => !weights.has(textOf(value, file, 1))).map(info),
    outputs: outputs.map(info),
  }
}

function valueInfo(message: Uint8Array, file: string): OnnxValueInfo {
  const name = textOf(message, file, 1)
  const type = messages(message, file, 2).at(-1) ?? new Uint8Array()
  const tensorType = messages(type, file, 1).at(-1) ?? new Uint8Array()
  const code = integerOf(tensorType, file, 1)
  const dtype = (Object.keys(dataTypes) as DType[]).find((one) => dataTypes[one] === code)
  if (dtype === undefined)
    throw new FormatError(`${file} has ${name} of a type that limn does not run; give another model.`)
  const shape = messages(tensorType, file, 2).at(-1) ?? new Uint8Array()
  return {
    name,
    dtype,
    shape: messages(shape, file, 1).map((axis, i) => {
      const named = textOf(axis, file, 2)
      // Exporters call axes that have nothing in common "?" and "None".
      return integerOf(axis, file, 1) ?? (/^(\?|None)?$/.test(named) ? `${name}.${i}` : named)
    }),
  }
}

/** The messages in all fields of such a number. */
function messages(message: Uint8Array, file: string, wanted: number): Uint8Array[] {
  return fieldsOf(message, file, wanted).flatMap(({ kind, value }) => (kind === "bytes" ? [value] : []))
}

/** The last text in such a field, "" where there is none. */
function textOf(message: Uint8Array, file: string, wanted: number): string {
  return new TextDecoder().decode(messages(message, file, wanted).at(-1))
}

function integerOf(message: Uint8Array, file: string, wanted: number): number | undefined {
  return fieldsOf(message, file, wanted)
    .flatMap(({ kind, value }) => (kind === "integer" ? [value] : []))
    .at(-1)
}

function fieldsOf(message: Uint8Array, file: string, wanted: number): WireField[] {
  return [...wireFields(message, file)].filter(({ field }) => field === wanted)
}
