import { UsageError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Weight } from "./weighted-sum.ts"
import { weightedSum } from "./weighted-sum.ts"

/*
 * What a model's output means. At a noise level x = alpha x0 + sigma epsilon the model predicts one of
 *
 *   epsilon           the noise                                                    (DDPM, Ho 2020)
 *   sample            x0
 *   v_prediction      alpha epsilon - sigma x0, where alpha^2 + sigma^2 = 1        (Salimans and Ho 2022)
 *   flow_prediction   epsilon - x0, where alpha + sigma = 1                        (Rectified flow, Liu 2022)
 *
 * and each gives both x0 and epsilon as a weighted sum of the output and x.
 */

export type Prediction = "epsilon" | "sample" | "v_prediction" | "flow_prediction"

/** Shares of clean sample and noise at one noise level: x = alpha x0 + sigma epsilon. */
export interface NoiseLevel {
  readonly alpha: number
  readonly sigma: number
}

const f = Math.fround

type Weights = readonly [onSample: number, onOutput: number]

const x0Weights: { readonly [P in Prediction]: (level: NoiseLevel) => Weights } = {
  epsilon: ({ alpha, sigma }) => [1 / alpha, -sigma / alpha],
  sample: () => [0, 1],
  v_prediction: ({ alpha, sigma }) => [alpha, -sigma],
  flow_prediction: ({ sigma }) => [1, -sigma],
}

const epsilonWeights: { readonly [P in Prediction]: (level: NoiseLevel) => Weights } = {
  epsilon: () => [0, 1],
  sample: ({ alpha, sigma }) => [1 / sigma, -alpha / sigma],
  v_prediction: ({ alpha, sigma }) => [sigma, alpha],
  flow_prediction: ({ alpha }) => [1, alpha],
}

/** One noise level for all rows, or one for each. */
export type NoiseLevels = NoiseLevel | readonly NoiseLevel[]

/** x0 from a model's output for `sample`. Throws a UsageError for epsilon where no sample is left in the noise. */
export function predictX0(
  prediction: Prediction,
  output: Tensor<"float32">,
  sample: Tensor<"float32">,
  levels: NoiseLevels,
): Tensor<"float32"> {
  return convert(x0Weights[prediction], output, sample, levels)
}

/** epsilon from a model's output for `sample`. */
export function predictEpsilon(
  prediction: Prediction,
  output: Tensor<"float32">,
  sample: Tensor<"float32">,
  levels: NoiseLevels,
): Tensor<"float32"> {
  return convert(epsilonWeights[prediction], output, sample, levels)
}

/** x0 where the sample is kept as x0 + sigma epsilon, undamped, as Karras writes it: sample = x / alpha. */
export function predictX0AtSigma(
  prediction: Prediction,
  output: Tensor<"float32">,
  sample: Tensor<"float32">,
  sigma: number,
): Tensor<"float32"> {
  const level = levelAtSigma(sigma)
  const [onSample, onOutput] = x0Weights[prediction](level)
  return weightedSum([onSample * level.alpha, sample], [onOutput, output])
}

/** alpha = sqrt(alphasCumprod) and sigma = sqrt(1 - alphasCumprod), rounded to float32 as in PyTorch. */
export function levelOf(alphaCumprod: number): NoiseLevel {
  return {
    alpha: f(Math.sqrt(alphaCumprod)),
    sigma: f(Math.sqrt(f(1 - alphaCumprod))),
  }
}

/** alpha and sigma of the noise level whose sigma / alpha is given, where alpha^2 + sigma^2 = 1. */
export function levelAtSigma(ratio: number): NoiseLevel {
  const alpha = f(1 / f(Math.sqrt(f(f(ratio * ratio) + 1))))
  return { alpha, sigma: f(ratio * alpha) }
}

/** Whether two noise levels are one. The largest differ in alpha alone, the smallest in sigma alone. */
export function sameLevel(a: NoiseLevel, b: NoiseLevel): boolean {
  return a.alpha === b.alpha && a.sigma === b.sigma
}

/** The noise levels of timesteps, whole numbers in [0, N), from a table of alphasCumprod. Throws a UsageError outside. */
export function levelsAt(alphasCumprod: Float32Array, timesteps: readonly number[]): NoiseLevel[] {
  return timesteps.map((t) => {
    if (!(t in alphasCumprod))
      throw new UsageError(`Timestep ${t} is not a whole number from 0 to ${alphasCumprod.length - 1}.`)
    return levelOf(alphasCumprod[t])
  })
}

/** alpha x0 + sigma noise: what training shows the model. */
export function noised(
  x0: Tensor<"float32">,
  noise: Tensor<"float32">,
  levels: NoiseLevels,
): Tensor<"float32"> {
  return weightedSum([each(levels, (l) => l.alpha), x0], [each(levels, (l) => l.sigma), noise])
}

/** alpha noise - sigma x0: what a model that predicts v should answer. */
export function velocity(
  x0: Tensor<"float32">,
  noise: Tensor<"float32">,
  levels: NoiseLevels,
): Tensor<"float32"> {
  return weightedSum([each(levels, (l) => l.alpha), noise], [each(levels, (l) => -l.sigma), x0])
}

function convert(
  weightsAt: (level: NoiseLevel) => Weights,
  output: Tensor<"float32">,
  sample: Tensor<"float32">,
  levels: NoiseLevels,
): Tensor<"float32"> {
  return weightedSum(
    [each(levels, (level) => finite(weightsAt(level)[0])), sample],
    [each(levels, (level) => finite(weightsAt(level)[1])), output],
  )
}

function each(levels: NoiseLevels, weight: (level: NoiseLevel) => number): Weight {
  return "alpha" in levels ? weight(levels) : levels.map(weight)
}

function finite(weight: number): number {
  if (Number.isFinite(weight)) return weight
  throw new UsageError(
    "At zero SNR nothing of the sample is left in its noise; use a v_prediction model or another timestep_spacing.",
  )
}
