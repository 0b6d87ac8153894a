import { FormatError, UsageError } from "../ground/errors.ts"
import { noiseScheduleKeys, oneOf, readConfig, rescaleBetasZeroSnr } from "./config.ts"

/*
 * The noise of training: beta_t is the variance added at step t, alpha_t = 1 - beta_t, and
 * alphasCumprod_t = alpha_0 ... alpha_t is the share of the clean sample's variance left at t, so that
 *
 *   x_t = sqrt(alphasCumprod_t) x_0 + sqrt(1 - alphasCumprod_t) epsilon            (DDPM, Ho 2020)
 *   sigma_t = sqrt((1 - alphasCumprod_t) / alphasCumprod_t)                        (Karras 2022)
 *
 * Every operation rounds to float32 where PyTorch's does, since timesteps are derived from these tables.
 */

const f = Math.fround

/**
 * alphasCumprod for each step of training, [N], decreasing, in [0, 1).
 * `config` is a scheduler's JSON; keys that are not about the noise schedule are ignored.
 */
export function alphasCumprod(config: Readonly<Record<string, unknown>>): Float32Array {
  return productOfAlphas(betas(config))
}

/**
 * alphasCumprod at a timestep. -1, where "trailing" spacing sometimes ends, reads the last entry: so does diffusers.
 * Throws a UsageError outside the table.
 */
export function alphaAt(products: Float32Array, timestep: number): number {
  const value = Number.isInteger(timestep) ? products.at(timestep) : undefined
  if (value !== undefined) return value
  throw new UsageError(`Timestep ${timestep} is not a whole number from 0 to ${products.length - 1}.`)
}

/** beta for each step of training, [N]. Throws a FormatError where `trained_betas` is not N long. */
export function betas(config: Readonly<Record<string, unknown>>): Float32Array {
  const keys = {
    ...noiseScheduleKeys,
    // All that any class has; each class's own keys have refused the others.
    beta_schedule: oneOf("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp").default(
      "linear",
    ),
    rescale_betas_zero_snr: rescaleBetasZeroSnr,
  }
  // A class's own defaults hold here, though they would give way to another class's.
  const schedule = readConfig("NoiseSchedule", keys, { ...config, _use_default_values: [] })
  const n = schedule.num_train_timesteps
  const start = schedule.beta_start
  const end = schedule.beta_end
  let values: Float32Array
  if (schedule.trained_betas !== undefined) {
    values = Float32Array.from(schedule.trained_betas)
    if (values.length !== n)
      throw new FormatError(
        `"trained_betas" has ${values.length} entries; limn needs ${n}, one for each step.`,
      )
  } else
    switch (schedule.beta_schedule) {
      case "linear":
        values = linspace32(start, end, n)
        break
      case "scaled_linear":
        values = linspace32(Math.sqrt(start), Math.sqrt(end), n).map((root) => root * root)
        break
      case "squaredcos_cap_v2":
        values = betasOf((time) => Math.cos((((time + 0.008) / 1.008) * Math.PI) / 2) ** 2, n)
        break
      case "sigmoid":
        values = linspace32(-6, 6, n).map((x) => f(f(1 / (1 + Math.exp(-x))) * f(end - start)) + f(start))
        break
      case "laplace":
        values = betasOf(laplace, n)
        break
      case "exp":
        values = betasOf((time) => Math.exp(-12 * time), n)
    }
  return schedule.rescale_betas_zero_snr ? rescaleZeroSnr(values) : values
}

/**
 * Betas whose last step is pure noise: sqrt(alphasCumprod) shifted to end at 0 and scaled to start where it did.
 * (Lin 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", Algorithm 1)
 */
export function rescaleZeroSnr(values: Float32Array): Float32Array {
  const roots = productOfAlphas(values).map(Math.sqrt)
  const first = roots[0]
  const last = roots[roots.length - 1]
  const scale = f(first / f(first - last))
  const products = roots.map((root) => f(f(root - last) * scale) ** 2)
  return products.map((product, t) => 1 - (t === 0 ? product : f(product / products[t - 1])))
}

/**
 * sigma for each step of training, [N], increasing. Zero terminal SNR would make the last one infinite; as in
 * diffusers alphasCumprod is held at 2^-24 there, hence sigma at 4096.
 */
export function sigmaTable(config: Readonly<Record<string, unknown>>): Float32Array {
  const products = alphasCumprod(config)
  if (config.rescale_betas_zero_snr === true) products[products.length - 1] = 2 ** -24
  return products.map((product) => Math.sqrt(f(f(1 - product) / product)))
}

/** `torch.linspace`: from the nearer end by multiples of one rounded step. */
export function linspace32(start: number, end: number, n: number): Float32Array {
  const first = f(start)
  const last = f(end)
  const step = n > 1 ? f(f(last - first) / (n - 1)) : 0
  return Float32Array.from({ length: n }, (_, i) =>
    i < n / 2 ? first + step * i : last - step * (n - 1 - i),
  )
}

/** Betas under which alphasCumprod is a function of time from 0 to 1, capped at 0.999. (Nichol and Dhariwal 2021) */
function betasOf(product: (time: number) => number, n: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) =>
    Math.min(1 - product((i + 1) / n) / product(i / n), 0.999),
  )
}

/** The share of signal whose log-SNR is Laplace's distribution over time. (Hang 2024, as diffusers has it) */
function laplace(time: number): number {
  const logSnr = (time > 0.5 ? 0.5 : -0.5) * Math.log(1 - 2 * Math.abs(0.5 - time) + 1e-6)
  const snr = Math.exp(logSnr)
  return Math.sqrt(snr / (1 + snr))
}

function productOfAlphas(values: Float32Array): Float32Array {
  let product = 1
  return values.map((beta) => (product *= f(1 - beta)))
}
