import type { DType } from "../ground/dtype.ts"
import { LimnError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { formatShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { byteLength, rawBytes } from "../ground/tensor.ts"
import type { Wire } from "./protobuf.ts"
import {
  bytesField,
  floatField,
  integerField,
  joined,
  packedFloatsField,
  packedIntegersField,
  stringField,
  wireBytes,
} from "./protobuf.ts"

/**
 * What a node's attribute may hold. The JavaScript type decides the ONNX kind: a number is a FLOAT, a bigint an
 * INT, lists likewise (FLOATS, INTS, STRINGS).
 */
export type OnnxAttribute =
  | number
  | bigint
  | string
  | readonly number[]
  | readonly bigint[]
  | readonly string[]
  | Tensor

/** One operator call. An input named "" is an optional one left out. */
export interface OnnxNode {
  readonly op: string
  /** "" (the default) is ONNX's own operators. */
  readonly domain?: string
  readonly name: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>
}

/** Bytes that stay in another file, whose path is relative to a folder named when the model is opened. */
export interface ExternalData {
  readonly location: string
  /** Where they begin, in bytes; it may exceed 2^32. */
  readonly offset: number
  /** How many they are. */
  readonly length: number
}

/** A constant: raw little-endian bytes in the model itself, or outside it. */
export interface OnnxInitializer {
  readonly name: string
  readonly dtype: DType
  readonly shape: Shape
  readonly data: Uint8Array | ExternalData
}

/** A graph's input or output. A string among the sizes is a symbolic dimension. */
export interface OnnxValueInfo {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly (number | string)[]
}

/** What a graph takes and gives. */
export interface OnnxSignature {
  readonly graphName: string
  readonly inputs: readonly OnnxValueInfo[]
  readonly outputs: readonly OnnxValueInfo[]
}

/** A whole model: one graph, and the operator sets that its nodes come from (domain to version, "" for ONNX's own). */
export interface OnnxModel extends OnnxSignature {
  readonly irVersion: number
  readonly opsets: Readonly<Record<string, number>>
  readonly nodes: readonly OnnxNode[]
  readonly initializers: readonly OnnxInitializer[]
  readonly producer?: string
}

/** `TensorProto.DataType` of each element type. */
export const dataTypes: { readonly [D in DType]: number } = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
}

/** `AttributeProto.AttributeType`. */
const attributeTypes = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7, strings: 8 } as const

/** `TensorProto.DataLocation.EXTERNAL`. */
const EXTERNAL = 1

/** No protobuf reader takes a message of 2 GiB. */
const MAX_MODEL_BYTES = 2 ** 31 - 1

/**
 * The bytes of a model as ONNX's `ModelProto` (field numbers from onnx.proto, which never change). Inline
 * initializers are copied once. Throws a LimnError where an initializer's bytes are not its shape's, an attribute
 * or a size cannot be written, or the model would reach 2 GiB.
 */
export function encodeOnnxModel(model: OnnxModel): Uint8Array {
  const message = joined([
    integerField(1, model.irVersion),
    ...(model.producer === undefined ? [] : [stringField(2, model.producer)]),
    bytesField(7, graphProto(model)),
    ...Object.entries(model.opsets).map(([domain, version]) => bytesField(8, opsetProto(domain, version))),
  ])
  if (message.length > MAX_MODEL_BYTES)
    throw new LimnError(
      `The ONNX model ${model.graphName} takes ${message.length} bytes, and the format ends at 2 GiB: keep its large initializers as external data.`,
    )
  return wireBytes(message)
}

function opsetProto(domain: string, version: number): Wire {
  return joined([stringField(1, domain), integerField(2, version)])
}

function graphProto(model: OnnxModel): Wire {
  return joined([
    ...model.nodes.map((node) => bytesField(1, nodeProto(node))),
    stringField(2, model.graphName),
    ...model.initializers.map((initializer) => bytesField(5, initializerProto(initializer))),
    ...model.inputs.map((input) => bytesField(11, valueInfoProto(input))),
    ...model.outputs.map((output) => bytesField(12, valueInfoProto(output))),
  ])
}

function nodeProto(node: OnnxNode): Wire {
  const attributes = Object.entries(node.attributes ?? {})
  return joined([
    ...node.inputs.map((name) => stringField(1, name)),
    ...node.outputs.map((name) => stringField(2, name)),
    stringField(3, node.name),
    stringField(4, node.op),
    ...attributes.map(([name, value]) => bytesField(5, attributeProto(name, value, node))),
    ...(node.domain === undefined ? [] : [stringField(7, node.domain)]),
  ])
}

function attributeProto(name: string, value: OnnxAttribute, node: OnnxNode): Wire {
  const write = (type: keyof typeof attributeTypes, fields: readonly Wire[]) =>
    joined([stringField(1, name), ...fields, integerField(20, attributeTypes[type])])
  const checked = (integers: readonly bigint[]) => {
    for (const integer of integers)
      if (integer !== BigInt.asIntN(64, integer))
        throw new LimnError(
          `Attribute ${name} of node ${node.name} (${node.op}) is ${integer}: ONNX holds integers of 64 bits.`,
        )
    return integers
  }

  if (typeof value === "number") return write("float", [floatField(2, value)])
  if (typeof value === "bigint") return write("int", [integerField(3, checked([value])[0])])
  if (typeof value === "string") return write("string", [stringField(4, value)])
  if (isTensor(value)) return write("tensor", [bytesField(5, tensorProto(value))])
  if (new Set(value.map((element) => typeof element)).size !== 1)
    throw new LimnError(
      `Attribute ${name} of node ${node.name} (${node.op}) is an empty or mixed list, whose kind is unknown: give elements of one kind, or leave it out.`,
    )
  if (isListOf(value, "number")) return write("floats", [packedFloatsField(7, value)])
  if (isListOf(value, "bigint")) return write("ints", [packedIntegersField(8, checked(value))])
  const texts = value.map((text) => stringField(9, text))
  return write("strings", texts)
}

interface KindOf {
  number: number
  bigint: bigint
}

function isListOf<K extends keyof KindOf>(list: readonly unknown[], kind: K): list is readonly KindOf[K][] {
  return typeof list[0] === kind
}

function isTensor(value: readonly unknown[] | Tensor): value is Tensor {
  return "dtype" in value
}

function tensorProto(t: Tensor): Wire {
  // Typed arrays lie in the machine's byte order: little-endian, as raw_data wants, wherever JavaScript runs today.
  const raw = rawBytes(t.data)
  return joined([...tensorHeader(t.dtype, t.shape), bytesField(9, raw)])
}

function initializerProto({ name, dtype, shape, data }: OnnxInitializer): Wire {
  const expected = byteLength({ dtype, shape })
  if (data.length !== expected)
    throw new LimnError(
      `Initializer ${name} of ${dtype} ${formatShape(shape)} needs ${expected} bytes, not ${data.length}.`,
    )
  const head = [...tensorHeader(dtype, shape), stringField(8, name)]
  if (data instanceof Uint8Array) return joined([...head, bytesField(9, data)])
  if (!Number.isSafeInteger(data.offset) || data.offset < 0)
    throw new LimnError(`Initializer ${name} cannot begin at byte ${data.offset} of ${data.location}.`)
  return joined([
    ...head,
    bytesField(13, stringEntryProto("location", data.location)),
    bytesField(13, stringEntryProto("offset", String(data.offset))),
    bytesField(13, stringEntryProto("length", String(data.length))),
    integerField(14, EXTERNAL),
  ])
}

function tensorHeader(dtype: DType, shape: Shape): Wire[] {
  const type = integerField(2, dataTypes[dtype])
  return shape.length === 0 ? [type] : [packedIntegersField(1, shape), type]
}

function stringEntryProto(key: string, value: string): Wire {
  return joined([stringField(1, key), stringField(2, value)])
}

function valueInfoProto({ name, dtype, shape }: OnnxValueInfo): Wire {
  for (const size of shape)
    if (typeof size === "number" && !(Number.isSafeInteger(size) && size >= 0))
      throw new LimnError(
        `${name} cannot have an axis of ${size}: give a whole number, or a name for any size.`,
      )
  const dimensions = shape.map((size) =>
    bytesField(1, joined([typeof size === "number" ? integerField(1, size) : stringField(2, size)])),
  )
  const tensorType = joined([integerField(1, dataTypes[dtype]), bytesField(2, joined(dimensions))])
  return joined([stringField(1, name), bytesField(2, joined([bytesField(1, tensorType)]))])
}
