import { FormatError } from "../ground/errors.ts"
import { z } from "../ground/schema.ts"

/** Every schema message is the second half of a sentence: what limn needs. */
const needs = (what: string) => ({ error: `limn needs ${what}` })

export const flag = z.boolean(needs("true or false"))
export const finite = z.number(needs("a number"))
export const positive = z.number(needs("a positive number")).positive(needs("a positive number"))
export const count = z.int(needs("a positive integer")).positive(needs("a positive integer"))
export const nonNegativeInteger = z
  .int(needs("0 or a positive integer"))
  .nonnegative(needs("0 or a positive integer"))

const aShare = needs("a number from 0 to 1")
export const share = z.number(aShare).min(0, aShare).max(1, aShare)

/** A flag that limn supports switched off. */
export const refused = (what: string) => z.literal(false, { error: `limn supports ${what}` }).default(false)

/** One of some words. */
export function oneOf<const V extends readonly [string, ...string[]]>(...values: V) {
  return z.enum(values, needs(values.map((value) => JSON.stringify(value)).join(" or ")))
}

/** A schema that reads some words of other schedulers as its own. */
export function translated<S extends z.ZodType>(words: Readonly<Record<string, string>>, schema: S) {
  return z.preprocess((given) => (typeof given === "string" ? (words[given] ?? given) : given), schema)
}

/** What the noise of training is made of: keys that every scheduler has. Defaults: DDPM's (Ho 2020). */
export const noiseScheduleKeys = {
  /** N, the steps of training. Timesteps run from 0 (clean) to N - 1 (noise). */
  num_train_timesteps: count.default(1000),
  beta_start: positive.default(0.0001),
  beta_end: positive.default(0.02),
  beta_schedule: oneOf("linear", "scaled_linear", "squaredcos_cap_v2").default("linear"),
  /** Betas written out, one for each step of training, in place of the three above. */
  trained_betas: z.array(finite, needs("a list of numbers")).optional(),
}

/** What the model's output means, and how to spread few steps over the N of training. */
export const walkKeys = {
  prediction_type: oneOf("epsilon", "sample", "v_prediction").default("epsilon"),
  /** Added to "leading" timesteps; 1 keeps Stable Diffusion off timestep 0, which it never saw. */
  steps_offset: nonNegativeInteger.default(0),
}

/** Clamping x0 to what 99.5 % of it lies within (Imagen, Saharia 2022); for pixels, not latents. */
export const thresholdKeys = {
  thresholding: flag.default(false),
  dynamic_thresholding_ratio: share.default(0.995),
  sample_max_value: positive.default(1),
}

/** At most one of three ways to space sigmas anew, in place of the spacing of timesteps. */
export const sigmaSpacingKeys = {
  use_karras_sigmas: flag.default(false),
  use_exponential_sigmas: flag.default(false),
  use_beta_sigmas: flag.default(false),
}

/** Clamping x0 to +-clip_sample_range: right for pixels; checkpoints of latents turn it off. */
export const clipKeys = (byDefault: boolean) => ({
  clip_sample: flag.default(byDefault),
  clip_sample_range: positive.default(1),
})

export const timestepSpacing = oneOf("linspace", "leading", "trailing")
export const finalSigmasType = oneOf("zero", "sigma_min")
export const rescaleBetasZeroSnr = flag.default(false)

/**
 * Reads a scheduler configuration as diffusers does: keys that the class does not have are ignored; missing ones,
 * and null, take the class's default. The result names its class and, under `_use_default_values`, the keys that
 * were defaults, since those give way to another class's defaults when the configuration moves there.
 * Throws a FormatError that names the first offending key, its value and what is supported.
 */
export function readConfig<Keys extends z.ZodRawShape>(
  className: string,
  keys: Keys,
  json: unknown,
): z.output<z.ZodObject<Keys>> & Readonly<Record<string, unknown>> {
  const given = givenKeys(json)
  const result = z.object(keys).safeParse(given, { reportInput: true })
  if (!result.success) {
    const [issue] = result.error.issues
    throw new FormatError(
      `The scheduler configuration has "${issue.path.join(".")}": ${JSON.stringify(issue.input)}; ${issue.message}.`,
    )
  }
  return {
    _class_name: className,
    ...result.data,
    _use_default_values: Object.keys(result.data).filter((key) => !(key in given)),
  }
}

/** The keys that a configuration really sets. Throws a FormatError where it is not an object. */
export function givenKeys(json: unknown): Record<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new FormatError(
      "The scheduler configuration is not a JSON object; limn needs scheduler_config.json.",
    )
  const defaults = "_use_default_values" in json ? json._use_default_values : []
  const wasDefault = (key: string) => Array.isArray(defaults) && defaults.includes(key)
  return Object.fromEntries(Object.entries(json).filter(([key, value]) => value !== null && !wasDefault(key)))
}
