import { FormatError } from "../ground/errors.ts"
import { betaQuantile } from "./beta-quantile.ts"
import { linspace } from "./timesteps.ts"

/*
 * Noise levels for few steps: read off the table of training at given timesteps, or spaced anew between a highest
 * and a lowest one. All in double precision; callers round to float32 at the end.
 */

/** The keys that ask for sigmas to be spaced anew. */
export interface SigmaSpacing {
  readonly use_karras_sigmas: boolean
  readonly use_exponential_sigmas: boolean
  readonly use_beta_sigmas: boolean
}

/** Throws a FormatError where a configuration asks for more than one spacing. */
export function checkSpacing(config: SigmaSpacing): void {
  if (
    Number(config.use_karras_sigmas) +
      Number(config.use_exponential_sigmas) +
      Number(config.use_beta_sigmas) >
    1
  )
    throw new FormatError(
      "The scheduler configuration asks for several of Karras, exponential and beta sigmas; limn needs one at most.",
    )
}

/** `n` sigmas from highest to lowest in the spacing that the configuration asks for, or undefined where it asks for none. */
export function respacedSigmas(
  config: SigmaSpacing,
  highest: number,
  lowest: number,
  n: number,
): Float64Array | undefined {
  if (config.use_karras_sigmas) return karrasSigmas(highest, lowest, n)
  if (config.use_exponential_sigmas) return exponentialSigmas(highest, lowest, n)
  if (config.use_beta_sigmas) return betaSigmas(highest, lowest, n)
  return undefined
}

/** Even steps of sigma^(1/rho). (Karras 2022, "Elucidating the Design Space", equation 5) */
export function karrasSigmas(highest: number, lowest: number, n: number, rho = 7): Float64Array {
  const top = highest ** (1 / rho)
  const bottom = lowest ** (1 / rho)
  return linspace(0, 1, n).map((ramp) => (top + ramp * (bottom - top)) ** rho)
}

/** Even steps of log sigma. */
export function exponentialSigmas(highest: number, lowest: number, n: number): Float64Array {
  return linspace(Math.log(highest), Math.log(lowest), n).map(Math.exp)
}

/** Quantiles of Beta(0.6, 0.6), dense at both ends. (Lee 2024, "Beta Sampling is All You Need") */
export function betaSigmas(highest: number, lowest: number, n: number): Float64Array {
  return linspace(0, 1, n).map((ramp) => lowest + betaQuantile(1 - ramp, 0.6) * (highest - lowest))
}

/** The sigma of a timestep between two of training, by straight lines; the ends of the table beyond it. (`numpy.interp`) */
export function sigmaAt(table: Float32Array, timestep: number): number {
  const last = table.length - 1
  if (timestep <= 0) return table[0]
  if (timestep >= last) return table[last]
  const low = Math.floor(timestep)
  return (table[low + 1] - table[low]) * (timestep - low) + table[low]
}

/** The timestep at which training has a sigma, by straight lines in log sigma; 0 or N - 1 beyond the table. */
export function timestepOf(table: Float32Array, sigma: number): number {
  const logSigma = Math.log(Math.max(sigma, 1e-10))
  const logAt = (t: number) => Math.fround(Math.log(table[t]))
  let low = 0
  let high = table.length - 1
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (logAt(middle) <= logSigma) low = middle
    else high = middle
  }
  const share = (logAt(low) - logSigma) / Math.fround(logAt(low) - logAt(high))
  const w = Math.min(Math.max(share, 0), 1)
  return (1 - w) * low + w * high
}
