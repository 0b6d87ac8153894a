import type { DType } from "../ground/dtype.ts"
import { arrayOf } from "../ground/dtype.ts"
import { FormatError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { formatShape, sizeOf } from "../ground/shape.ts"
import { clipped, quoted } from "./json.ts"
import type { PickleObject, PickleValue } from "./pickle.ts"
import { isGlobal, isObject, isPersistent } from "./pickle.ts"

/** Where a tensor lies in its file, and what it is. */
export interface TorchTensor {
  /** Undefined where the file holds a type that limn has not, such as "int16". */
  readonly dtype: DType | undefined
  /** PyTorch's name of the type: "float32", "float8_e4m3fn". */
  readonly storedAs: string
  readonly shape: Shape
  /** Elements from one index to the next, along each axis. */
  readonly stride: readonly number[]
  /** Of the first element, in bytes from the beginning of the file. */
  readonly offset: number
  /** Bytes of all elements, as many as they take without gaps. */
  readonly length: number
  /** The elements lie one after the other in row-major order, so that the tensor is a byte range of the file. */
  readonly contiguous: boolean
}

/** Numbers that one or several tensors are views of. */
export interface TorchStorage {
  readonly storedAs: string
  readonly bytesPerElement: number
  /** In bytes from the beginning of the file. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
}

/** A storage by what its file's pickle says of it. */
export type StorageFinder = (id: PickleValue) => TorchStorage

/** Element types by the class of their storage: PyTorch's name, and bytes of one element. */
const storageClasses: Readonly<Record<string, readonly [storedAs: string, bytes: number]>> = {
  DoubleStorage: ["float64", 8],
  FloatStorage: ["float32", 4],
  HalfStorage: ["float16", 2],
  BFloat16Storage: ["bfloat16", 2],
  LongStorage: ["int64", 8],
  IntStorage: ["int32", 4],
  ShortStorage: ["int16", 2],
  CharStorage: ["int8", 1],
  ByteStorage: ["uint8", 1],
  BoolStorage: ["bool", 1],
  ComplexFloatStorage: ["complex64", 8],
  ComplexDoubleStorage: ["complex128", 16],
  UntypedStorage: ["uint8", 1],
}

/** Ways in which PyTorch says that the tensor is the first argument. */
const wrappers = new Set(["torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"])
/** A tensor of a subclass: the function that makes it, the class, and the function's arguments. */
const FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
const PARAMETER_DICT = "torch.nn.modules.container.ParameterDict"
const makers = new Set(["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"])
/** A parameter of a subclass is wrapped twice; more is a circle. */
const MAX_WRAPPERS = 4

const MAX_DEPTH = 4
const MAX_TENSORS = 2 ** 18
const MAX_NAME_LENGTH = 1000
const MAX_AXES = 64

/** What a storage's class says: its elements' type and size. Undefined for a class that PyTorch has not. */
export function storageType(
  value: PickleValue,
): Pick<TorchStorage, "storedAs" | "bytesPerElement"> | undefined {
  if (!isGlobal(value)) return undefined
  const name = value.name.slice(value.name.lastIndexOf(".") + 1)
  if (!Object.hasOwn(storageClasses, name)) return undefined
  const [storedAs, bytesPerElement] = storageClasses[name]
  return { storedAs, bytesPerElement }
}

/**
 * The tensors of a checkpoint by name: those of its "state_dict", where it has one, else all that lie in dicts, those
 * of dicts inside dicts under names with dots. Throws a FormatError that begins with `file` for a tensor that is not
 * what PyTorch writes.
 */
export function collectTensors(
  root: PickleValue,
  findStorage: StorageFinder,
  file: string,
): Map<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>()
  let seen = 0
  // Dicts may contain each other, so depth and number are bounded.
  const collect = (dict: ReadonlyMap<PickleValue, PickleValue>, prefix: string, depth: number): void => {
    for (const [key, value] of dict) {
      if (++seen > MAX_TENSORS) throw new FormatError(`${file} has more entries than any checkpoint.`)
      if (typeof key !== "string" && typeof key !== "number") continue
      const name = `${prefix}${key}`
      if (name.length > MAX_NAME_LENGTH)
        throw new FormatError(`${file} has a tensor whose name is ${name.length} characters long.`)
      const tensor = tensorOf(value, findStorage, `Tensor ${quoted(name)} of ${file}`)
      const inner = tensor === undefined && depth < MAX_DEPTH ? dictOf(value) : undefined
      if (tensor !== undefined) tensors.set(name, tensor)
      if (inner !== undefined) collect(inner, `${name}.`, depth + 1)
    }
  }
  const whole = dictOf(root)
  const state = dictOf(whole?.get("state_dict"))
  collect(state ?? whole ?? new Map(), "", 0)
  return tensors
}

function dictOf(value: PickleValue | undefined): ReadonlyMap<PickleValue, PickleValue> | undefined {
  // One kind of dict is a module, as in the first files of textual inversion.
  const inModule = isObject(value) && value.name === PARAMETER_DICT && value.state instanceof Map
  const dict = inModule ? (value.state as Map<PickleValue, PickleValue>).get("_parameters") : value
  if (dict instanceof Map) return dict
  return isObject(dict) ? dict.entries : undefined
}

function tensorOf(value: PickleValue, findStorage: StorageFinder, what: string): TorchTensor | undefined {
  for (let i = 0; i < MAX_WRAPPERS && isObject(value); i++) {
    if (value.name.startsWith("torch._utils.") && makers.has(value.name.slice("torch._utils.".length)))
      return rebuild(value, findStorage, what)
    if (wrappers.has(value.name)) value = value.args[0]
    else if (value.name === FROM_TYPE && isGlobal(value.args[0]) && Array.isArray(value.args[2]))
      value = { kind: "object", name: value.args[0].name, args: value.args[2] }
    else return undefined
  }
  return undefined
}

/** `_rebuild_tensor_v2(storage, offset, size, stride, ...)`; the third version names its type as the seventh. */
function rebuild({ args }: PickleObject, findStorage: StorageFinder, what: string): TorchTensor {
  const [id, first, shape, stride, , , named] = args
  if (!isPersistent(id)) throw new FormatError(`${what} has no storage.`)
  if (!isCounts(shape) || !isCounts(stride) || shape.length !== stride.length || shape.length > MAX_AXES)
    throw new FormatError(`${what} has a shape and strides that are not lists of whole numbers from 0 on.`)
  if (!isCount(first)) throw new FormatError(`${what} begins at no whole number from 0 on.`)
  const storage = findStorage(id.id)
  if (isGlobal(named)) return rebuildNamed(named.name, storage, shape, stride)

  const count = sizeOf(shape)
  const beyond = shape.reduce((sum, size, axis) => sum + (size - 1) * stride[axis], first + 1)
  const held = storage.length / storage.bytesPerElement
  if (!Number.isSafeInteger(count) || (count > 0 && !(beyond <= held)))
    throw new FormatError(
      `${what} of shape ${clipped(formatShape(shape))} reaches beyond its storage of ${held} elements.`,
    )
  return {
    dtype: dtypeNamed(storage.storedAs),
    storedAs: storage.storedAs,
    shape,
    stride,
    // None of an empty tensor is read, wherever it claims to lie.
    offset: storage.offset + (count > 0 ? first * storage.bytesPerElement : 0),
    length: count * storage.bytesPerElement,
    contiguous: isContiguous(shape, stride),
  }
}

/** Types without a storage class of their own: float8 and others that limn has not, so that their storage is all. */
function rebuildNamed(
  name: string,
  { offset, length }: TorchStorage,
  shape: Shape,
  stride: readonly number[],
): TorchTensor {
  const storedAs = name.slice(name.lastIndexOf(".") + 1)
  return { dtype: undefined, storedAs, shape, stride, offset, length, contiguous: false }
}

function dtypeNamed(name: string): DType | undefined {
  return Object.hasOwn(arrayOf, name) ? (name as DType) : undefined
}

function isContiguous(shape: Shape, stride: readonly number[]): boolean {
  let expected = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return sizeOf(shape) === 0
    expected *= shape[axis]
  }
  return true
}

/** Whether a pickled value is a whole number from 0 on. */
export function isCount(value: PickleValue | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isCounts(value: PickleValue | undefined): value is number[] {
  return Array.isArray(value) && value.every(isCount)
}
