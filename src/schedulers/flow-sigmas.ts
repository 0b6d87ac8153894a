/*
 * Noise levels of rectified flow, x = (1 - sigma) x0 + sigma epsilon, sigma in [0, 1] (Liu 2022), moved towards noise
 * for large pictures, in which the same noise hides less (Esser 2024, section 5.3.2).
 */

/** sigma moved towards noise by a factor of its odds: `shift` above 1. */
export function shiftSigma(sigma: number, shift: number): number {
  return (shift * sigma) / (1 + (shift - 1) * sigma)
}

/** Sigmas stretched so that the last, the lowest, is `terminal`; a walk of one step, at sigma 1, stays. */
export function stretchSigmas(sigmas: Float64Array, terminal: number): Float64Array {
  const clean = 1 - sigmas[sigmas.length - 1]
  const scale = clean === 0 ? 1 : clean / (1 - terminal)
  return sigmas.map((sigma) => 1 - (1 - sigma) / scale)
}
