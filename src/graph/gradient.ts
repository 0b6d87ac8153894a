import { LimnError } from "../ground/errors.ts"
import { sizeOf } from "../ground/shape.ts"
import { float32, zeros } from "../ground/tensor.ts"
import { order } from "./build.ts"
import { type GradientRule, gradientRules } from "./gradient-rules.ts"
import { constant } from "./node.ts"
import { add } from "./ops/elementwise.ts"
import { formatType, type Op, type Value } from "./value.ts"

/**
 * Gradients of a scalar in each of `wrt`, as values of the same graph (reverse-mode differentiation). A value
 * that the scalar does not depend on gets zeros.
 */
export function gradient(loss: Value, wrt: readonly Value[]): Value[] {
  if (sizeOf(loss.shape) !== 1)
    throw new LimnError(`gradient: the loss must be one number, not ${formatType(loss)}.`)
  const values = order([loss])
  const wanted = dependents(values, new Set(wrt))
  const gradients = new Map<Value, Value>([[loss, constant(float32(loss.shape, [1]))]])
  for (const value of values.toReversed()) {
    const g = gradients.get(value)
    if (g === undefined || !wanted.has(value)) continue
    inputGradients(g, value).forEach((contribution, i) => {
      const x = value.inputs[i]
      if (contribution === null || !wanted.has(x)) return
      const sum = gradients.get(x)
      gradients.set(x, sum === undefined ? contribution : add(sum, contribution))
    })
  }
  return wrt.map((x) => gradients.get(x) ?? constant(zeros("float32", x.shape)))
}

/** The values on a path from one of `sources`. */
function dependents(values: readonly Value[], sources: ReadonlySet<Value>): Set<Value> {
  const found = new Set<Value>()
  for (const value of values)
    if (sources.has(value) || value.inputs.some((x) => found.has(x))) found.add(value)
  return found
}

function inputGradients<P extends Op>(g: Value, value: Value<P>): readonly (Value | null)[] {
  const rule: GradientRule<P> | null = gradientRules[value.op]
  if (rule === null) throw new LimnError(`gradient: ${value.op} has no gradient rule.`)
  return rule(g, value)
}
