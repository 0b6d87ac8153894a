import { UsageError } from "../ground/errors.ts"

/*
 * Noise levels of rectified flow, x = (1 - sigma) x0 + sigma epsilon, sigma in [0, 1] (Liu 2022), moved towards noise
 * for large pictures, in which the same noise hides less (Esser 2024, section 5.3.2).
 */

/** sigma moved towards noise by a factor of its odds: `shift` above 1. */
export function shiftSigma(sigma: number, shift: number): number {
  return (shift * sigma) / (1 + (shift - 1) * sigma)
}

/**
 * Sigmas moved towards noise, then, where a `terminal` above 0 is given, stretched so that the lowest is that; a walk of
 * one step, at sigma 1, stays. Throws a UsageError for a sigma that is not above 0, up to 1: walks reach 0 by themselves.
 */
export function shiftSigmas(sigmas: ArrayLike<number>, shift: number, terminal = 0): Float64Array {
  const shifted = Float64Array.from(sigmas, (sigma) => {
    if (sigma > 0 && sigma <= 1) return shiftSigma(sigma, shift)
    throw new UsageError(`Sigma ${sigma} is no step of rectified flow; give numbers up to 1 and above 0.`)
  })
  const clean = 1 - shifted[shifted.length - 1]
  if (terminal === 0 || clean === 0) return shifted
  return shifted.map((sigma) => 1 - ((1 - sigma) * (1 - terminal)) / clean)
}
