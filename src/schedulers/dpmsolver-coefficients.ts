import type { NoiseLevel } from "./prediction.ts"

export type DpmAlgorithm = "dpmsolver" | "dpmsolver++" | "sde-dpmsolver" | "sde-dpmsolver++"
export type DpmSolverType = "midpoint" | "heun"

/** x' = sample x + the sum of integrands[i] m_i + noise z, the newest m first. */
export interface DpmWeights {
  readonly sample: number
  readonly integrands: readonly number[]
  readonly noise: number
}

/** Coefficients of x, of m, of its first and second difference quotients, and of the noise. */
interface Expansion {
  readonly sample: number
  readonly d0: number
  readonly d1: { readonly [T in DpmSolverType]: number }
  readonly d2: number
  readonly noise: number
}

const f = Math.fround

/*
 * One step of h in lambda = log(alpha / sigma) from s to t. PyTorch's float32 rounding is kept at every operation:
 * exp(h) - 1 loses digits for small h, and the third order loses more.
 */
const expansions: {
  readonly [A in DpmAlgorithm]: (s: NoiseLevel, t: NoiseLevel, h: number) => Expansion
} = {
  // Lu 2022, DPM-Solver
  dpmsolver(s, t, h) {
    const e = f(f(Math.exp(h)) - 1)
    return {
      sample: f(t.alpha / s.alpha),
      d0: -f(t.sigma * e),
      d1: { midpoint: -0.5 * f(t.sigma * e), heun: -f(t.sigma * f(f(e / h) - 1)) },
      d2: -f(t.sigma * f(f(f(e - h) / f(h * h)) - 0.5)),
      noise: 0,
    }
  },
  // Lu 2022, DPM-Solver++; order 2 is its Algorithm 2, 2M
  "dpmsolver++"(s, t, h) {
    const e = f(f(Math.exp(-h)) - 1)
    return {
      sample: f(t.sigma / s.sigma),
      d0: -f(t.alpha * e),
      d1: { midpoint: -0.5 * f(t.alpha * e), heun: f(t.alpha * f(f(e / h) + 1)) },
      d2: -f(t.alpha * f(f(f(e + h) / f(h * h)) - 0.5)),
      noise: 0,
    }
  },
  // Lu 2022, SDE-DPM-Solver, which has no third order
  "sde-dpmsolver"(s, t, h) {
    const e = f(f(Math.exp(h)) - 1)
    return {
      sample: f(t.alpha / s.alpha),
      d0: -2 * f(t.sigma * e),
      d1: { midpoint: -f(t.sigma * e), heun: -2 * f(t.sigma * f(f(e / h) - 1)) },
      d2: Number.NaN,
      noise: f(t.sigma * f(Math.sqrt(f(f(Math.exp(f(2 * h))) - 1)))),
    }
  },
  // Lu 2022, SDE-DPM-Solver++
  "sde-dpmsolver++"(s, t, h) {
    const e = f(1 - f(Math.exp(f(-2 * h))))
    return {
      sample: f(f(t.sigma / s.sigma) * f(Math.exp(-h))),
      d0: f(t.alpha * e),
      d1: { midpoint: 0.5 * f(t.alpha * e), heun: f(t.alpha * f(f(e / f(-2 * h)) + 1)) },
      d2: f(t.alpha * f(f(f(e - f(2 * h)) / f(f(2 * h) * f(2 * h))) - 0.5)),
      noise: f(t.sigma * f(Math.sqrt(e))),
    }
  },
}

/**
 * The weights of one step. `levels` are those of the next sample, of this one, and of the samples before, newest
 * first: one more than the order, 1 to 3.
 */
export function dpmWeights(
  algorithm: DpmAlgorithm,
  solverType: DpmSolverType,
  levels: readonly NoiseLevel[],
): DpmWeights {
  const [next, now] = levels
  const lambda = levels.map(({ alpha, sigma }) => f(f(Math.log(alpha)) - f(Math.log(sigma))))
  const h = f(lambda[0] - lambda[1])
  const { sample, d0, d1, d2, noise } = expansions[algorithm](now, next, h)
  if (levels.length === 2) return { sample, integrands: [d0], noise }

  // D1 = (m0 - m1) / r0
  const r0 = f(f(lambda[1] - lambda[2]) / h)
  if (levels.length === 3) {
    const slope = d1[solverType] / r0
    return { sample, integrands: [d0 + slope, -slope], noise }
  }

  // D1 = (m0 - m1) / r0 + r0 D2    D2 = ((m0 - m1) / r0 - (m1 - m2) / r1) / (r0 + r1)
  const r1 = f(f(lambda[2] - lambda[3]) / h)
  const bend = (d1.heun * r0 + d2) / (r0 + r1)
  const slope = (d1.heun + bend) / r0
  return { sample, integrands: [d0 + slope, -slope - bend / r1, bend / r1], noise }
}
