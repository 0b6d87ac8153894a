import { div, mul, reduceMean, reduceSum, reshape, shift, sqrt, sub } from "../ops/index.ts"
import type { Value } from "../value.ts"

/** Group normalisation's gradients in x, scale and bias. */
export function groupNormGradient(g: Value, { inputs, attributes }: Value<"groupNorm">): Value[] {
  const [x, weight] = inputs
  const [b, channels, ...rest] = x.shape
  const { groups, eps } = attributes
  const grouped = [b, groups, (channels / groups) * rest.reduce((n, d) => n * d, 1)]
  const perChannel = [channels, ...rest.map(() => 1)]
  const picture = (value: Value) => reshape(value, x.shape)

  const { normal, deviation } = normalise(reshape(x, grouped), eps)
  const others = x.shape.map((_, i) => i).filter((i) => i !== 1)
  const gradNormal = reshape(mul(g, reshape(weight, perChannel)), grouped)
  return [
    picture(centre(gradNormal, normal, deviation)),
    reduceSum(mul(g, picture(normal)), others),
    reduceSum(g, others),
  ]
}

/** Layer normalisation's gradients in x, scale and bias. */
export function layerNormGradient(g: Value, { inputs, attributes }: Value<"layerNorm">): Value[] {
  const [x, weight] = inputs
  const { normal, deviation } = normalise(x, attributes.eps)
  const others = x.shape.map((_, i) => i).slice(0, -1)
  return [centre(mul(g, weight), normal, deviation), reduceSum(mul(g, normal), others), reduceSum(g, others)]
}

/** (x - mean) / deviation over the last axis, and the deviation sqrt(variance + eps). */
function normalise(x: Value, eps: number): { normal: Value; deviation: Value } {
  const centred = sub(x, mean(x))
  const deviation = sqrt(shift(mean(mul(centred, centred)), eps))
  return { normal: div(centred, deviation), deviation }
}

/** dx = (g - mean(g) - n mean(g n)) / deviation, n the normalised values. */
function centre(g: Value, normal: Value, deviation: Value): Value {
  const along = mul(normal, mean(mul(g, normal)))
  return div(sub(sub(g, mean(g)), along), deviation)
}

function mean(x: Value): Value {
  return reduceMean(x, [x.shape.length - 1], { keepDims: true })
}
