import { bytesPerElement, type DType } from "../ground/dtype.ts"
import { FormatError, LimnError } from "../ground/errors.ts"
import { formatShape, type Shape, sizeOf } from "../ground/shape.ts"
import { input } from "./node.ts"
import { cast } from "./ops/elementwise.ts"
import { slice } from "./ops/layout.ts"
import type { Value, WeightStorage } from "./value.ts"

/** A tensor as its checkpoint stores it. */
export interface StoredWeight {
  readonly dtype: DType
  readonly shape: Shape
  readonly storage: WeightStorage
}

/**
 * A folder of tensors inside a checkpoint: `w.at("conv1").get("weight")`. All folders of one checkpoint
 * remember together which tensors were read, so that one that no model used is found and not passed over.
 */
export interface Weights {
  readonly path: string
  /** The folder of this name inside this one. */
  at(name: string | number): Weights
  /** Whether there is a tensor of this name, or a folder with one inside. */
  has(name: string): boolean
  /** The same folder with rows `start` to `end` (not included) of every tensor, for a layer that is several in one. */
  rows(start: number, end: number): Weights
  /** A tensor as a float32 value. Throws where the checkpoint has none of this name. */
  get(name: string): Value
  /** Names of the tensors, of the whole checkpoint, that nothing has asked for yet. */
  unread(): string[]
}

/** Rows `start` to `end` of a tensor, along its first axis. */
type Rows = readonly [start: number, end: number]

/** Weights over tensors that already exist, by their full names; `source` names them in errors. */
export function storedWeights(tensors: ReadonlyMap<string, StoredWeight>, source: string): Weights {
  return weightsFrom(new Set(tensors.keys()), source, (path, rows) => {
    const stored = tensors.get(path)!
    const { dtype, shape, storage } = rows === undefined ? stored : storedRows(stored, rows, path)
    const name = rows === undefined ? path : `${path}[${rows[0]}:${rows[1]}]`
    return cast({ op: "weight", inputs: [], attributes: { path: name, storage }, dtype, shape }, "float32")
  })
}

/** Weights that are fed at every run, as training does: each is a float32 input of its own name. */
export function inputWeights(shapes: ReadonlyMap<string, Shape>): Weights {
  const inputs = new Map([...shapes].map(([path, shape]) => [path, input(path, "float32", shape)]))
  return weightsFrom(new Set(shapes.keys()), "the parameters", (path, rows) =>
    rows === undefined ? inputs.get(path)! : slice(inputs.get(path)!, 0, ...rows),
  )
}

function weightsFrom(
  names: ReadonlySet<string>,
  source: string,
  make: (path: string, rows?: Rows) => Value,
): Weights {
  const made = new Map<string, Value>()
  const read = new Set<string>()
  const folders = new Set<string>()
  for (const name of names)
    for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1))
      folders.add(name.slice(0, dot))

  const folder = (path: string, rows?: Rows): Weights => {
    const full = (name: string | number) => (path === "" ? String(name) : `${path}.${name}`)
    return {
      path,
      at: (name) => folder(full(name), rows),
      rows: (start, end) => folder(path, rows ? [rows[0] + start, rows[0] + end] : [start, end]),
      has: (name) => names.has(full(name)) || folders.has(full(name)),
      get: (name) => {
        const tensor = full(name)
        if (!names.has(tensor))
          throw new FormatError(`The model needs the tensor "${tensor}", which is not in ${source}.`)
        const key = rows === undefined ? tensor : `${tensor} ${rows}`
        const value = made.get(key) ?? make(tensor, rows)
        made.set(key, value)
        read.add(tensor)
        return value
      },
      unread: () => [...names].filter((name) => !read.has(name)),
    }
  }
  return folder("")
}

/**
 * Rows `start` to `end` (not included) of a stored tensor. Rows lie one after the other, so that some of them are a byte
 * range of the same file. Throws a LimnError that names the tensor, `path`, where it has no such rows.
 */
export function storedRows(
  { dtype, shape, storage }: StoredWeight,
  [start, end]: Rows,
  path: string,
): StoredWeight {
  const [count, ...each] = shape
  if (start < 0 || end > count || start >= end)
    throw new LimnError(`"${path}" of ${formatShape(shape)} has no rows ${start} to ${end}.`)
  const cut = [end - start, ...each]
  const size = sizeOf(each)
  if (storage.kind === "file") {
    const bytes = size * bytesPerElement(dtype)
    const offset = storage.offset + start * bytes
    return { dtype, shape: cut, storage: { ...storage, offset, length: (end - start) * bytes } }
  }
  const data = storage.tensor.data.subarray(start * size, end * size)
  return { dtype, shape: cut, storage: { kind: "memory", tensor: { dtype, shape: cut, data } } }
}
