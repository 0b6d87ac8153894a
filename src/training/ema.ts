import type { Parameters } from "./adamw.ts"

/**
 * How much of the average stays at optimizer step `step` (1 for the first): a ramp, so that the first steps do
 * not linger, up to `decay` (diffusers `EMAModel.get_decay`).
 */
export function emaDecay(step: number, decay: number): number {
  const k = Math.max(0, step - 1)
  return k === 0 ? 0 : Math.min(decay, (1 + k) / (10 + k))
}

/** Moves the average towards the parameters, in place. */
export function emaStep(average: Parameters, parameters: Parameters, decay: number): void {
  for (const [name, { data: mean }] of average) {
    const p = parameters.get(name)!.data
    for (let i = 0; i < mean.length; i++) mean[i] -= (1 - decay) * (mean[i] - p[i])
  }
}
