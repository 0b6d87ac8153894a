import type { DeviceRules, OnnxRule } from "./emitter.ts"
import { onnxRules } from "./onnx-rules.ts"
import type { Op, Value } from "./value.ts"

/** How a value is written: from which values, and by which rule. */
export interface Written {
  readonly reads: readonly Value[]
  readonly write: OnnxRule<Op>
}

/**
 * The values of a graph that a device computes one by one, each with how it is written; what it computes together with another
 * is not among them. `values` are all, inputs before users.
 */
export function fuse(
  values: readonly Value[],
  outputs: readonly Value[],
  device: DeviceRules,
): ReadonlyMap<Value, Written> {
  const uses = new Map<Value, number>()
  for (const x of [...values.flatMap(({ inputs }) => inputs), ...outputs]) uses.set(x, (uses.get(x) ?? 0) + 1)
  const inner = (x: Value) => uses.get(x) === 1
  const needed = new Set(outputs)
  const written = new Map<Value, Written>()
  for (const value of values.toReversed()) {
    if (!needed.has(value)) continue
    const how = howToWrite(value, inner, device)
    written.set(value, how)
    for (const x of how.reads) needed.add(x)
  }
  return written
}

function howToWrite<P extends Op>(
  value: Value<P>,
  inner: (x: Value) => boolean,
  { rules, fusions }: DeviceRules,
): Written {
  const fusion = fusions[value.op]
  const reads = fusion?.reads(value, inner)
  const write: OnnxRule<P> = fusion && reads ? fusion.write : (rules[value.op] ?? onnxRules[value.op])
  return { reads: reads ?? value.inputs, write: write as OnnxRule<Op> }
}
