import { z } from "../ground/schema.ts"
import type { Tensor } from "../ground/tensor.ts"
import { flag, oneOf, translated } from "./config.ts"
import type { DpmAlgorithm, DpmSolverType } from "./dpmsolver-coefficients.ts"
import { dpmWeights } from "./dpmsolver-coefficients.ts"
import type { SolverStep } from "./log-snr-scheduler.ts"
import { sameLevel } from "./prediction.ts"
import { weightedSum } from "./weighted-sum.ts"

/** The keys of DPM-Solver, whatever its noise levels. */
export const dpmSolverKeys = {
  solver_order: z.literal([1, 2, 3], { error: "limn needs 1, 2 or 3" }).default(2),
  // DEIS and UniPC configurations that are moved here keep their own words; diffusers reads them so.
  algorithm_type: translated(
    { deis: "dpmsolver++" },
    oneOf<readonly [DpmAlgorithm, ...DpmAlgorithm[]]>(
      "dpmsolver",
      "dpmsolver++",
      "sde-dpmsolver",
      "sde-dpmsolver++",
    ).default("dpmsolver++"),
  ),
  solver_type: translated(
    { logrho: "midpoint", bh1: "midpoint", bh2: "midpoint" },
    oneOf<readonly [DpmSolverType, ...DpmSolverType[]]>("midpoint", "heun").default("midpoint"),
  ),
  /** In walks of fewer than 15 steps: order 2 at most before the last step, order 1 at the last. */
  lower_order_final: flag.default(true),
  /** Order 1 at the last step, however long the walk. */
  euler_at_final: flag.default(false),
}

interface DpmSolver {
  readonly solver_order: number
  readonly algorithm_type: DpmAlgorithm
  readonly solver_type: DpmSolverType
  readonly lower_order_final: boolean
  readonly euler_at_final: boolean
  readonly final_sigmas_type: "zero" | "sigma_min"
}

/** DPM-Solver over what the model said at the last steps. */
export interface DpmHistory {
  /** Forgets them. */
  clear(): void
  /** The next sample, from `integrand`, which is x0 for the ++ forms and epsilon for the others. */
  step(integrand: Tensor<"float32">, at: SolverStep): Tensor<"float32">
}

/** DPM-Solver, multistep, of the order that the configuration asks for and the walk allows. */
export function dpmHistory(config: DpmSolver): DpmHistory {
  /** Newest first. */
  let history: Tensor<"float32">[] = []

  function highestOrder({ index, steps, levelAt }: SolverStep): number {
    // From the lowest level to "sigma_min", which it is: no way to go, of which higher orders make 0 / 0.
    if (sameLevel(levelAt(index), levelAt(index + 1))) return 1
    const left = steps - index
    const short = config.lower_order_final && steps < 15
    if (left === 1 && (short || config.euler_at_final || config.final_sigmas_type === "zero")) return 1
    return left === 2 && short ? 2 : 3
  }

  return {
    clear() {
      history = []
    },
    step(integrand, at) {
      const { sample, index, levelAt, random } = at
      history = [integrand, ...history].slice(0, config.solver_order)
      const order = Math.min(history.length, highestOrder(at))
      const levels = Array.from({ length: order + 1 }, (_, i) => levelAt(index + 1 - i))
      const weights = dpmWeights(config.algorithm_type, config.solver_type, levels)
      const terms = weights.integrands.map((weight, i) => [weight, history[i]] as const)
      if (config.algorithm_type.startsWith("sde")) terms.push([weights.noise, random.randn(sample.shape)])
      return weightedSum([weights.sample, sample], ...terms)
    },
  }
}
