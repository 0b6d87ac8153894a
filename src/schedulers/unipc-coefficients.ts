import { solve } from "../ground/linear-system.ts"
import type { NoiseLevel } from "./prediction.ts"

/** What B(h) is: h, or e^h - 1. */
export type UniPcSolverType = "bh1" | "bh2"

/** x' = sample x + the sum of integrands[i] m_i, the newest m first, + arrival times the m at x'. */
export interface UniPcWeights {
  readonly sample: number
  readonly integrands: readonly number[]
  /** 0 in prediction, which does not know it yet. */
  readonly arrival: number
}

const f = Math.fround

/**
 * The weights of one step of UniPC (Zhao 2023, equations 3 and 9): the predictor's, or the corrector's, which knows
 * the model's answer where the step arrives. `levels` are those of the next sample, of this one, and of the samples
 * before, newest first: one more than the order, from 1 on. `inX0` says that m is x0, not epsilon.
 *
 * With h = lambda' - lambda, r_i = (lambda_i - lambda) / h, D_i = (m_i - m_0) / r_i, and r of the arrival 1,
 *
 *   x' = sigma' / sigma x - alpha' (e^-h - 1) m_0 - alpha' B sum rho_i D_i     (x0; epsilon: the mirror image)
 *   sum_i rho_i r_i^(k-1) = b_k    b_k = k! phi_(k+1) / B
 *
 * PyTorch's float32 rounding is kept where small h loses digits.
 */
export function uniPcWeights(
  solverType: UniPcSolverType,
  inX0: boolean,
  levels: readonly NoiseLevel[],
  phase: "predict" | "correct",
): UniPcWeights {
  const [next, now] = levels
  const order = levels.length - 1
  const lambda = levels.map(({ alpha, sigma }) => f(f(Math.log(alpha)) - f(Math.log(sigma))))
  const h = f(lambda[0] - lambda[1])
  const ratios = lambda.slice(2).map((before) => f(f(before - lambda[1]) / h))
  const signed = inX0 ? -h : h
  const growth = f(Math.expm1(signed))
  const scale = solverType === "bh1" ? signed : growth
  const size = inX0 ? next.alpha : next.sigma
  const rho = phase === "predict" ? predictorRho() : correctorRho()

  // No differences, no scale: at sigma 0 bh1's is infinite.
  const onDifferences = ratios.map((ratio, i) => (-f(size * scale) * rho[i]) / ratio)
  const arrival = phase === "predict" ? 0 : -f(size * scale) * rho[order - 1]
  const taken = onDifferences.reduce((sum, weight) => sum + weight, arrival)
  return {
    sample: inX0 ? f(next.sigma / now.sigma) : f(next.alpha / now.alpha),
    integrands: [-f(size * growth) - taken, ...onDifferences],
    arrival,
  }

  // As in diffusers: the lowest order of each with a difference takes its limit for small h, 1/2.
  function predictorRho(): readonly number[] {
    return order <= 2 ? [0.5] : solve(powers(ratios), moments(order - 1))
  }

  function correctorRho(): readonly number[] {
    return order === 1 ? [0.5] : solve(powers([...ratios, 1]), moments(order))
  }

  /** b_1 to b_n. */
  function moments(n: number): number[] {
    let phi = f(f(growth / signed) - 1)
    let factorial = 1
    return Array.from({ length: n }, (_, i) => {
      const moment = f(f(phi * factorial) / scale)
      factorial *= i + 2
      phi = f(f(phi / signed) - f(1 / factorial))
      return moment
    })
  }
}

/** Rows of the ratios' powers, from the zeroth on, as many as there are ratios. */
function powers(ratios: readonly number[]): number[][] {
  return ratios.map((_, k) => ratios.map((ratio) => ratio ** k))
}
