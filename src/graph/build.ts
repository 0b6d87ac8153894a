import type { OnnxInitializer, OnnxModel, OnnxNode, OnnxValueInfo } from "../formats/onnx.ts"
import { LimnError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import { rawBytes } from "../ground/tensor.ts"
import type { Device, DeviceRules, Emitter } from "./emitter.ts"
import { fuse } from "./fusions.ts"
import { composedAttention, webgpu } from "./onnx-webgpu.ts"
import { isOp, type Value } from "./value.ts"

/** A described computation with its order and its names fixed. */
export interface Graph {
  /** Every value that the outputs reach, inputs before users. */
  readonly values: readonly Value[]
  readonly names: ReadonlyMap<Value, string>
  readonly outputs: Readonly<Record<string, Value>>
}

/**
 * Collects what the outputs reach, and names it: inputs and weights by their own names, every other value by
 * the folder of its first weight (or its first input's folder), so that inserting one operator changes few names.
 */
export function build(outputs: Readonly<Record<string, Value>>): Graph {
  const values = order(Object.values(outputs))
  const names = new Map<Value, string>()
  const scopes = new Map<Value, string>()
  const taken = new Set<string>(Object.keys(outputs))
  for (const value of values) {
    const name = ownName(value)
    if (name === undefined) continue
    if (taken.has(name)) throw new LimnError(`Two values of the graph are named "${name}"; rename one.`)
    taken.add(name)
    names.set(value, name)
    scopes.set(value, isOp(value, "weight") || name.includes(".") ? folderOf(name) : "")
  }
  const fresh = freshNames(taken)
  for (const value of values) {
    if (names.has(value)) continue
    const scope = scopeOf(value, scopes)
    scopes.set(value, scope)
    names.set(value, fresh(scope === "" ? value.op : `${scope}/${value.op}`))
  }
  return { values, names, outputs }
}

const common: DeviceRules = { rules: {}, fusions: {} }

/** What is written otherwise than for the CPU. CUDA has all that the CPU has; what else it has could not be tried. */
const deviceRules: { readonly [D in Device]: DeviceRules } = { cpu: common, webgpu, cuda: common }

/** How a graph is written. */
export interface OnnxOptions {
  /** Where it is to run (default: the CPU): providers have different operators. */
  readonly device?: Device
  /**
   * Whether attention is one operator (default), or written out where it would be wrong as one: in two products and a
   * softmax, with the memory that all scores take.
   */
  readonly fusedAttention?: boolean
}

/** The graph as an ONNX model. Weights stay where they are: byte ranges of their files. */
export function toOnnx(graph: Graph, { device = "cpu", fusedAttention = true }: OnnxOptions = {}): OnnxModel {
  const differing = deviceRules[device]
  const nodes: OnnxNode[] = []
  // Listed first, casts of weights are run last, each right before its use: ONNX Runtime walks from the outputs, and takes
  // of a node's inputs the ones listed later first. So not all weights are in memory at once where none is folded.
  const casts: OnnxNode[] = []
  const initializers: OnnxInitializer[] = []
  const inputs: OnnxValueInfo[] = []
  const fresh = freshNames(new Set([...graph.names.values(), ...Object.keys(graph.outputs)]))
  const constants = new Map<Tensor | string, string>()

  const constant = (tensor: Tensor): string => {
    const { dtype, shape, data } = tensor
    const bytes = rawBytes(data)
    // Equal small tensors are one constant; to compare large ones would cost more than it saves.
    const key = bytes.length <= 256 ? `${dtype}[${shape}]${bytes.join()}` : tensor
    let name = constants.get(key)
    if (name === undefined) {
      name = fresh("constant")
      constants.set(key, name)
      initializers.push({ name, dtype, shape, data: bytes })
    }
    return name
  }

  const written = fuse(graph.values, Object.values(graph.outputs), {
    ...differing,
    rules: fusedAttention ? differing.rules : { ...differing.rules, attention: composedAttention },
  })
  for (const value of graph.values) {
    const name = graph.names.get(value)!
    const how = written.get(value)
    if (isOp(value, "input")) inputs.push({ name, dtype: value.dtype, shape: value.shape })
    else if (isOp(value, "weight")) initializers.push(weightInitializer(name, value))
    else if (how !== undefined && !isOp(value, "constant")) {
      const emit: Emitter = {
        constant,
        add: (op, from, { attributes, domain, output = fresh(`${name}.${op}`) } = {}) => {
          const list = isOp(value, "cast") && isOp(value.inputs[0], "weight") ? casts : nodes
          list.push({ op, domain, name: output, inputs: from, outputs: [output], attributes })
          return output
        },
        addSplit: (op, from, results) => {
          const outputs = Array.from({ length: results }, () => fresh(`${name}.${op}`))
          nodes.push({ op, name: outputs[0], inputs: from, outputs })
          return outputs
        },
      }
      const operands = how.reads.map((x) =>
        isOp(x, "constant") ? constant(x.attributes.tensor) : graph.names.get(x)!,
      )
      how.write(emit, operands, name, value)
    }
  }
  const outputs = Object.entries(graph.outputs).map(([name, value]) => {
    const inner = isOp(value, "constant") ? constant(value.attributes.tensor) : graph.names.get(value)!
    nodes.push({ op: "Identity", name: `output ${name}`, inputs: [inner], outputs: [name] })
    return { name, dtype: value.dtype, shape: value.shape }
  })
  return {
    irVersion: 10,
    opsets: { "": 21, "com.microsoft": 1 },
    graphName: "limn",
    producer: "limn",
    nodes: [...casts, ...nodes],
    initializers,
    inputs,
    outputs,
  }
}

/** Everything the roots reach, inputs before users, in the order a reader meets it. */
export function order(roots: readonly Value[]): Value[] {
  const done = new Set<Value>()
  const values: Value[] = []
  // An explicit stack: a deep graph would overflow the call stack.
  const stack: { value: Value; next: number }[] = []
  for (const root of roots) {
    if (!done.has(root)) stack.push({ value: root, next: 0 })
    while (stack.length > 0) {
      const top = stack[stack.length - 1]
      if (done.has(top.value)) {
        stack.pop()
      } else if (top.next < top.value.inputs.length) {
        const operand = top.value.inputs[top.next++]
        if (!done.has(operand)) stack.push({ value: operand, next: 0 })
      } else {
        done.add(top.value)
        values.push(top.value)
        stack.pop()
      }
    }
  }
  return values
}

function weightInitializer(
  name: string,
  { dtype, shape, attributes: { storage } }: Value<"weight">,
): OnnxInitializer {
  if (storage.kind === "file") {
    const { file, offset, length } = storage
    return { name, dtype, shape, data: { location: file, offset, length } }
  }
  const { data } = storage.tensor
  return { name, dtype, shape, data: rawBytes(data) }
}

function scopeOf(value: Value, scopes: ReadonlyMap<Value, string>): string {
  // A weight may stand behind a cast or a reshape, which carry its folder on.
  const parameter = value.inputs
    .slice(1)
    .find((x) => x.op === "weight" || x.op === "cast" || isOp(x, "input"))
  return (
    (parameter && scopes.get(parameter)) ||
    (value.inputs.length > 0 ? (scopes.get(value.inputs[0]) ?? "") : "")
  )
}

/** The name that an input or a weight brings along. */
function ownName(value: Value): string | undefined {
  if (isOp(value, "input")) return value.attributes.name
  return isOp(value, "weight") ? value.attributes.path : undefined
}

/** Gives names that nothing has yet: the one asked for, or the first free one of `base_1`, `base_2`, ... */
function freshNames(taken: Set<string>): (base: string) => string {
  const counters = new Map<string, number>()
  return (base) => {
    let n = counters.get(base) ?? 0
    let name = n === 0 ? base : `${base}_${n}`
    while (taken.has(name)) name = `${base}_${++n}`
    counters.set(base, n + 1)
    taken.add(name)
    return name
  }
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf(".")))
}
