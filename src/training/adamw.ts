import type { Tensor } from "../ground/tensor.ts"

/** Tensors by name, all float32. */
export type Parameters = ReadonlyMap<string, Tensor<"float32">>

/** How AdamW moves its parameters; PyTorch's names and defaults. */
export interface AdamWOptions {
  readonly learningRate: number
  readonly beta1?: number
  readonly beta2?: number
  readonly eps?: number
  /** Pulls every parameter towards zero by learningRate x weightDecay of itself. */
  readonly weightDecay?: number
}

/** Running means of the gradients and of their squares, and how many steps they hold. */
export interface AdamWState {
  readonly first: Parameters
  readonly second: Parameters
  step: number
}

/** The state before the first step. */
export function adamWState(parameters: Parameters): AdamWState {
  return { first: zerosLike(parameters), second: zerosLike(parameters), step: 0 }
}

/**
 * One step of AdamW (Loshchilov & Hutter 2019; torch `AdamW`), changing the parameters and the state in place.
 * `gradientScale` multiplies every gradient first: clipping and averaging cost no pass of their own.
 */
export function adamWStep(
  parameters: Parameters,
  gradients: Parameters,
  state: AdamWState,
  { learningRate, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0.01 }: AdamWOptions,
  gradientScale = 1,
): void {
  state.step++
  const shrink = 1 - learningRate * weightDecay
  const size = learningRate / (1 - beta1 ** state.step)
  const correction = Math.sqrt(1 - beta2 ** state.step)
  for (const [name, { data: p }] of parameters) {
    const g = gradients.get(name)!.data
    const m = state.first.get(name)!.data
    const v = state.second.get(name)!.data
    for (let i = 0; i < p.length; i++) {
      const gi = g[i] * gradientScale
      const mi = beta1 * m[i] + (1 - beta1) * gi
      const vi = beta2 * v[i] + (1 - beta2) * gi * gi
      m[i] = mi
      v[i] = vi
      p[i] = p[i] * shrink - (size * mi) / (Math.sqrt(vi) / correction + eps)
    }
  }
}

/** Square root of the sum of all squares (torch `clip_grad_norm_`'s total norm). */
export function globalNorm(gradients: Parameters): number {
  let sum = 0
  for (const { data } of gradients.values()) for (let i = 0; i < data.length; i++) sum += data[i] * data[i]
  return Math.sqrt(sum)
}

/** What to multiply gradients of this norm by so that it is at most `limit` (torch `clip_grad_norm_`). */
export function clipScale(norm: number, limit: number): number {
  return Math.min(1, limit / (norm + 1e-6))
}

/** Zeros of the same names and shapes. */
export function zerosLike(parameters: Parameters): Parameters {
  return new Map(
    [...parameters].map(([name, { shape, data }]) => [
      name,
      { dtype: "float32", shape, data: new Float32Array(data.length) },
    ]),
  )
}
