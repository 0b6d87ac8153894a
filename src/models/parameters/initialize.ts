import type { RandomSource } from "../../ground/random/source.ts"
import type { Shape } from "../../ground/shape.ts"
import { sizeOf } from "../../ground/shape.ts"
import type { Tensor } from "../../ground/tensor.ts"
import { float32 } from "../../ground/tensor.ts"
import type { Parameter, ParameterSpec } from "./module.ts"

/** A source that also draws uniform numbers, as every CPU generator does. */
export interface InitSource extends RandomSource {
  /** Uniform in [0, 1). */
  rand(shape: Shape): Tensor<"float32">
}

/**
 * A value for every parameter, drawn in the order of the list, so that one seed always gives one model. The
 * distributions are PyTorch's; the draws are not, since PyTorch draws in the order in which modules are built.
 */
export function initialize(
  specs: readonly ParameterSpec[],
  random: InitSource,
): Map<string, Tensor<"float32">> {
  return new Map(specs.map((spec) => [spec.name, draw(spec, random)]))
}

function draw({ shape, init }: Parameter, random: InitSource): Tensor<"float32"> {
  switch (init.kind) {
    case "constant":
      return float32(shape, new Float32Array(sizeOf(shape)).fill(init.value))
    case "normal":
      return float32(
        shape,
        random.randn(shape).data.map((z) => z * init.std),
      )
    case "uniform":
      return float32(
        shape,
        random.rand(shape).data.map((u) => (2 * u - 1) * init.bound),
      )
  }
}
