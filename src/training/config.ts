import { z } from "zod"
import { UsageError } from "../ground/errors.ts"

const positive = z.number().positive()
const positiveInteger = z.int().positive()

const common = {
  /** Folder of the model: its configurations, and the weights of the parts that stay as they are. */
  model: z.string(),
  /** Folder of the training pictures (`openDataset`). */
  data: z.string(),
  /** Folder where the run keeps its state, its losses and what it has learnt. */
  output: z.string(),
  /** Where a new run begins: at random numbers, or at the model's own weights. */
  start: z.enum(["scratch", "weights"]).default("weights"),
  seed: z.int().nonnegative().default(0),
  steps: positiveInteger,
  batchSize: positiveInteger,
  accumulation: positiveInteger.default(1),
  learningRate: positive,
  schedule: z.enum(["constant", "linear", "cosine"]).default("constant"),
  warmupSteps: z.int().nonnegative().default(0),
  weightDecay: z.number().nonnegative().default(0.01),
  beta1: positive.default(0.9),
  beta2: positive.default(0.999),
  clipNorm: positive.default(1),
  emaDecay: z.number().min(0).max(1).default(0.999),
  /** Minutes between saves; what a crash can lose at most. */
  saveMinutes: positive.default(5),
  threads: positiveInteger.optional(),
}

const schema = z.discriminatedUnion("learn", [
  z.strictObject({
    learn: z.literal("autoencoder"),
    ...common,
    klWeight: z.number().nonnegative().default(1e-6),
  }),
  z.strictObject({ learn: z.literal("towers"), ...common }),
  z.strictObject({
    learn: z.literal("denoiser"),
    ...common,
    /** Share of captions replaced by the empty one, which guidance needs. */
    conditionDropout: z.number().min(0).max(1).default(0.1),
  }),
])

/** A training run as its JSON file says it, defaults filled in. */
export type TrainingConfig = z.output<typeof schema>

/**
 * Reads a training run's parsed JSON; `source` names the file in errors.
 * Throws a UsageError that names the first key that is missing, unknown or wrong.
 */
export function trainingConfig(json: unknown, source: string): TrainingConfig {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const { path, message } = result.error.issues[0]
  throw new UsageError(`${source}${path.length > 0 ? `: "${path.join(".")}"` : ""}: ${message}.`)
}
