import type { DType } from "../ground/dtype.ts"
import { FormatError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { input } from "./node.ts"
import { cast } from "./ops/elementwise.ts"
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
  /** A tensor as a float32 value. Throws where the checkpoint has none of this name. */
  get(name: string): Value
  /** Names of the tensors, of the whole checkpoint, that nothing has asked for yet. */
  unread(): string[]
}

/** Weights over tensors that already exist, by their full names; `source` names them in errors. */
export function storedWeights(tensors: ReadonlyMap<string, StoredWeight>, source: string): Weights {
  return weightsFrom(new Set(tensors.keys()), source, (path) => {
    const { dtype, shape, storage } = tensors.get(path)!
    return cast({ op: "weight", inputs: [], attributes: { path, storage }, dtype, shape }, "float32")
  })
}

/** Weights that are fed at every run, as training does: each is a float32 input of its own name. */
export function inputWeights(shapes: ReadonlyMap<string, Shape>): Weights {
  return weightsFrom(new Set(shapes.keys()), "the parameters", (path) =>
    input(path, "float32", shapes.get(path)!),
  )
}

function weightsFrom(names: ReadonlySet<string>, source: string, make: (path: string) => Value): Weights {
  const made = new Map<string, Value>()
  const folders = new Set<string>()
  for (const name of names)
    for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1))
      folders.add(name.slice(0, dot))

  const folder = (path: string): Weights => {
    const full = (name: string | number) => (path === "" ? String(name) : `${path}.${name}`)
    return {
      path,
      at: (name) => folder(full(name)),
      has: (name) => names.has(full(name)) || folders.has(full(name)),
      get: (name) => {
        const key = full(name)
        if (!names.has(key)) throw new FormatError(`${source} has no tensor "${key}", which the model needs.`)
        const value = made.get(key) ?? make(key)
        made.set(key, value)
        return value
      },
      unread: () => [...names].filter((name) => !made.has(name)),
    }
  }
  return folder("")
}
