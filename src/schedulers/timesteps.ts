/*
 * Spreading n steps over the N of training (Lin 2023, Table 2), highest timestep first:
 *
 *   linspace   from N - 1 to 0 evenly
 *   leading    multiples of floor(N / n), from 0, plus an offset
 *   trailing   N - 1, N - 1 - N/n, ..., rounded
 *
 * "Trailing" repeats NumPy's `arange`, rounding and all, and so has n + 1 entries, the last one -1, for some n
 * (61 and 103 of 1000; 15, 30 and 60 of 1100): diffusers walks those, and a seed must give the picture it gives.
 */

import { roundHalfEven } from "../ground/rounding.ts"

/** The keys that spacing needs, of any scheduler's configuration. */
export interface TimestepSpacing {
  readonly num_train_timesteps: number
  readonly timestep_spacing: "linspace" | "leading" | "trailing"
  readonly steps_offset: number
}

/** Whole timesteps: DDIM, DDPM, PNDM. */
export function wholeTimesteps(config: TimestepSpacing, steps: number): Float64Array {
  return spread(config, steps).map(roundHalfEven)
}

/** Timesteps that "linspace" puts between those of training, to float32: Euler, ancestral, LMS, Heun. */
export function fractionalTimesteps(config: TimestepSpacing, steps: number): Float64Array {
  return spread(config, steps).map(Math.fround)
}

function spread(config: TimestepSpacing, steps: number): Float64Array {
  const n = config.num_train_timesteps
  switch (config.timestep_spacing) {
    case "linspace":
      return linspace(0, n - 1, steps).reverse()
    case "leading":
      return leading(steps, Math.floor(n / steps)).map((t) => t + config.steps_offset)
    case "trailing":
      return trailing(n, n / steps)
  }
}

/**
 * Whole timesteps of the solvers that reckon in log-SNR, DPM-Solver and UniPC: they space n + 1 and leave out the
 * lowest. They start below `end`, which is N unless the noisiest steps are clipped away.
 */
export function solverTimesteps(config: TimestepSpacing, steps: number, end: number): Float64Array {
  switch (config.timestep_spacing) {
    case "linspace":
      return linspace(0, end - 1, steps + 1)
        .map(roundHalfEven)
        .reverse()
        .subarray(0, steps)
    case "leading":
      return leading(steps + 1, Math.floor(end / (steps + 1)))
        .map((t) => t + config.steps_offset)
        .subarray(0, steps)
    case "trailing":
      return trailing(end, config.num_train_timesteps / steps)
  }
}

/** `numpy.linspace`: both ends and evenly between; one number is the start. */
export function linspace(start: number, stop: number, n: number): Float64Array {
  const step = (stop - start) / (n - 1)
  const values = Float64Array.from({ length: n }, (_, i) => (i === 0 ? start : i * step + start))
  if (n > 1) values[n - 1] = stop
  return values
}

function leading(n: number, ratio: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => (n - 1 - i) * ratio)
}

function trailing(end: number, ratio: number): Float64Array {
  // The difference of the first two entries, which rounding makes differ from the ratio.
  const difference = end - ratio - end
  return Float64Array.from(
    { length: Math.ceil(end / ratio) },
    (_, i) => roundHalfEven(end + i * difference) - 1,
  )
}
