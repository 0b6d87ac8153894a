import type { DType } from "../ground/dtype.ts"
import type { Shape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { type ShapeRule, shapeRules } from "./shape-rules.ts"
import type { Attributes, Op, Value } from "./value.ts"

/** Describes one operator's result. Throws at this call, on the caller's line, where the inputs do not fit. */
export function node<P extends Op>(op: P, inputs: readonly Value[], attributes: Attributes[P]): Value<P> {
  const rule: ShapeRule<P> = shapeRules[op]
  const { dtype, shape } = rule(inputs, attributes, op)
  return { op, inputs, attributes, dtype, shape }
}

/** The same operator over other inputs; the value itself where they are its own. */
export function withInputs(value: Value, inputs: readonly Value[]): Value {
  const same = inputs.every((x, i) => x === value.inputs[i])
  return same ? value : node(value.op, inputs, value.attributes as Attributes[Op])
}

/** A value that is fed at every run. */
export function input(name: string, dtype: DType, shape: Shape): Value<"input"> {
  return { op: "input", inputs: [], attributes: { name }, dtype, shape }
}

/** Numbers that are known when the graph is described. */
export function constant(tensor: Tensor): Value<"constant"> {
  return node("constant", [], { tensor })
}
