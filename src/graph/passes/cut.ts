import { byteLength } from "../../ground/tensor.ts"
import { order } from "../build.ts"
import { input, withInputs } from "../node.ts"
import type { Value } from "../value.ts"
import { isOp } from "../value.ts"

type Outputs = Readonly<Record<string, Value>>

/** A graph as two that run one after the other: the outputs of the first are inputs of the second, by the same names. */
export interface Cut {
  readonly first: Outputs
  readonly second: Outputs
}

/**
 * Cuts a graph where half of its weights' bytes are read, so that two threads can load it in half the time. Undefined where
 * it has none.
 */
export function cutInTwo(outputs: Outputs): Cut | undefined {
  const values = order(Object.values(outputs))
  if (!values.some((value) => isOp(value, "weight"))) return undefined
  const sources = sourcesAmong(values)
  const before = firstHalf(values, sources)
  const crossing = new Set<Value>()
  for (const value of values)
    if (!before.has(value))
      for (const read of value.inputs) if (before.has(read) && !sources.has(read)) crossing.add(read)
  for (const value of Object.values(outputs)) if (before.has(value)) crossing.add(value)

  const first: Record<string, Value> = {}
  const made = new Map<Value, Value>()
  for (const value of crossing) {
    const name = `crossing.${made.size}`
    first[name] = value
    made.set(value, input(name, value.dtype, value.shape))
  }
  for (const value of values) {
    if (made.has(value) || (before.has(value) && !sources.has(value))) continue
    const inputs = value.inputs.map((x) => made.get(x)!)
    made.set(value, withInputs(value, inputs))
  }
  const second = Object.entries(outputs).map(([name, value]) => [name, made.get(value)!] as const)
  return { first, second: Object.fromEntries(second) }
}

/** What both halves may have of their own: inputs, constants, weights, and what is computed of weights alone. */
function sourcesAmong(values: readonly Value[]): ReadonlySet<Value> {
  const sources = new Set<Value>()
  for (const value of values)
    if (value.inputs.every((x) => sources.has(x) && !isOp(x, "input"))) sources.add(value)
  return sources
}

function firstHalf(values: readonly Value[], sources: ReadonlySet<Value>): ReadonlySet<Value> {
  const total = values.reduce((sum, value) => sum + (isOp(value, "weight") ? byteLength(value) : 0), 0)
  const before = new Set<Value>()
  let read = 0
  for (const value of values) {
    // Weights stand right before what reads them.
    if (isOp(value, "weight")) read += byteLength(value)
    if (sources.has(value) || 2 * read <= total) before.add(value)
  }
  return before
}
