import type { DType } from "../../ground/dtype.ts"
import { toHalf } from "../../ground/tensor.ts"
import { constant, node } from "../node.ts"
import type { Value } from "../value.ts"

/** a + b, with NumPy's broadcasting. */
export function add(a: Value, b: Value): Value {
  return node("add", [a, b], {})
}

/** a - b, with NumPy's broadcasting. */
export function sub(a: Value, b: Value): Value {
  return node("sub", [a, b], {})
}

/** a * b element by element, with NumPy's broadcasting. */
export function mul(a: Value, b: Value): Value {
  return node("mul", [a, b], {})
}

/** a / b element by element, with NumPy's broadcasting. */
export function div(a: Value, b: Value): Value {
  return node("div", [a, b], {})
}

/** A single number of the element type of `like`. */
export function scalar(value: number, like: Value): Value {
  const one = { dtype: "float32", shape: [], data: Float32Array.of(value) } as const
  return constant(like.dtype === "float16" ? toHalf(one, "float16") : one)
}

/** x * factor. */
export function scale(x: Value, factor: number): Value {
  return factor === 1 ? x : mul(x, scalar(factor, x))
}

/** x + offset. */
export function shift(x: Value, offset: number): Value {
  return add(x, scalar(offset, x))
}

/** -x. */
export function neg(x: Value): Value {
  return node("neg", [x], {})
}

/** e to the power of x. */
export function exp(x: Value): Value {
  return node("exp", [x], {})
}

/** Natural logarithm. */
export function log(x: Value): Value {
  return node("log", [x], {})
}

/** Square root; NaN below 0. */
export function sqrt(x: Value): Value {
  return node("sqrt", [x], {})
}

/** Sine of x in radians. */
export function sin(x: Value): Value {
  return node("sin", [x], {})
}

/** Cosine of x in radians. */
export function cos(x: Value): Value {
  return node("cos", [x], {})
}

/** Hyperbolic tangent. */
export function tanh(x: Value): Value {
  return node("tanh", [x], {})
}

/** The error function, as in the exact GELU. */
export function erf(x: Value): Value {
  return node("erf", [x], {})
}

/** 1 / (1 + exp(-x)). */
export function sigmoid(x: Value): Value {
  return node("sigmoid", [x], {})
}

/** x where it is above 0, else 0. */
export function relu(x: Value): Value {
  return node("relu", [x], {})
}

/** x * sigmoid(x), also called swish. */
export function silu(x: Value): Value {
  return node("sigmoidGate", [x], { alpha: 1 })
}

/** x * sigmoid(1.702 x), CLIP's approximation of GELU. */
export function quickGelu(x: Value): Value {
  return node("sigmoidGate", [x], { alpha: 1.702 })
}

/** The exact GELU, 0.5 x (1 + erf(x / sqrt 2)). */
export function gelu(x: Value): Value {
  return node("gelu", [x], {})
}

/** The same numbers in another element type. */
export function cast(x: Value, to: DType): Value {
  return x.dtype === to ? x : node("cast", [x], { to })
}
