import { UsageError } from "../ground/errors.ts"
import { z } from "../ground/schema.ts"
import { oneOf, positiveInteger, positiveNumber, wholeNumber } from "../models/config/fields.ts"

const text = z.string("limn needs a text")
const notNegative = z.number("limn needs 0 or a positive number").min(0, "limn needs 0 or a positive number")

const fromZeroToOne = "limn needs a number from 0 to 1"
const share = z.number(fromZeroToOne).min(0, fromZeroToOne).max(1, fromZeroToOne)

const common = {
  /** Folder of the model: its configurations, and the weights of the parts that stay as they are. */
  model: text,
  /** Folder of the training pictures (`openDataset`). */
  data: text,
  /** Folder where the run keeps its state, its losses and what it has learnt. */
  output: text,
  /** Where a new run begins: at random numbers (a ControlNet: at a copy of the U-Net), or at the model's own weights. */
  start: oneOf("scratch", "weights").default("weights"),
  seed: wholeNumber.default(0),
  steps: positiveInteger,
  batchSize: positiveInteger,
  accumulation: positiveInteger.default(1),
  learningRate: positiveNumber,
  schedule: oneOf("constant", "linear", "cosine").default("constant"),
  warmupSteps: wholeNumber.default(0),
  weightDecay: notNegative.default(0.01),
  beta1: positiveNumber.default(0.9),
  beta2: positiveNumber.default(0.999),
  clipNorm: positiveNumber.default(1),
  emaDecay: share.default(0.999),
  /** Minutes between saves; what a crash can lose at most. */
  saveMinutes: positiveNumber.default(5),
  threads: positiveInteger.optional(),
}

const schema = z.discriminatedUnion(
  "learn",
  [
    z.strictObject({ learn: z.literal("autoencoder"), ...common, klWeight: notNegative.default(1e-6) }),
    z.strictObject({
      learn: z.literal("towers"),
      ...common,
      /** Ids of a caption that are read, its end included; longer captions are cut. All of them unless given. */
      captionLength: positiveInteger.optional(),
    }),
    z.strictObject({
      learn: z.literal("denoiser"),
      ...common,
      /** Share of captions replaced by the empty one, which guidance needs. */
      conditionDropout: share.default(0.1),
      /** Above 1, noisier steps come up more often; 1 draws all alike. */
      timestepShift: positiveNumber.default(1),
    }),
    z.strictObject({
      learn: z.literal("controlnet"),
      ...common,
      /** Share of captions replaced by the empty one, so that edges alone come to mean something. */
      conditionDropout: share.default(0.5),
      timestepShift: positiveNumber.default(1),
    }),
  ],
  { error: 'limn learns "autoencoder", "towers", "denoiser" or "controlnet"' },
)

/** A training run as its JSON file says it, defaults filled in. */
export type TrainingConfig = z.output<typeof schema>

/**
 * Reads a training run's parsed JSON; `source` names the file in errors.
 * Throws a UsageError that names the first key that is missing, unknown or wrong.
 */
export function trainingConfig(json: unknown, source: string): TrainingConfig {
  const result = schema.safeParse(json, { reportInput: true })
  if (result.success) return result.data
  const issue = result.error.issues[0]
  if (issue.code === "unrecognized_keys")
    throw new UsageError(`${source}: "${issue.keys[0]}" is no key of such a run; take it out.`)
  if (issue.path.length === 0)
    throw new UsageError(
      `${source} is not a JSON object; limn reads the description of a training run there.`,
    )
  const key = issue.path.join(".")
  const value = (json as Readonly<Record<string, unknown>>)[key]
  if (value === undefined) throw new UsageError(`${source} has no "${key}"; a training run needs it.`)
  throw new UsageError(`${source}: "${key}" is ${JSON.stringify(value)}; ${issue.message}.`)
}
