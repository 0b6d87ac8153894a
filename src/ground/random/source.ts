import { UsageError } from "../errors.ts"
import type { Shape } from "../shape.ts"
import { formatShape, sizeOf } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { tensor } from "../tensor.ts"

/** A stream of normal numbers. Pipelines and schedulers draw all their noise from one, in a fixed order. */
export interface RandomSource {
  /** The next independent samples of N(0, 1); the stream moves on. */
  randn(shape: Shape): Tensor<"float32">
}

/**
 * The next normal numbers of one source, or of one source per sample along the first axis.
 * With several sources each draws `[1, ...]` by itself, so that picture i of a batch is the picture its own
 * seed gives alone; a list of one is that source, drawing the whole batch. (diffusers `randn_tensor`)
 * Throws a UsageError where several sources do not match the batch.
 */
export function randnTensor(
  shape: Shape,
  sources: RandomSource | readonly RandomSource[],
): Tensor<"float32"> {
  const list = "randn" in sources ? [sources] : sources
  if (list.length === 1) return list[0].randn(shape)
  if (list.length !== shape[0])
    throw new UsageError(
      `${list.length} seeds do not fit a batch of shape ${formatShape(shape)}; give one seed, or one per sample.`,
    )
  const data = new Float32Array(sizeOf(shape))
  const one = [1, ...shape.slice(1)]
  list.forEach((source, i) => {
    data.set(source.randn(one).data, i * sizeOf(one))
  })
  return tensor("float32", shape, data)
}

/** One source per sample of a batch, as a single source: every draw is `randnTensor` over the list. */
export function perSample(sources: readonly RandomSource[]): RandomSource {
  return { randn: (shape) => randnTensor(shape, sources) }
}
