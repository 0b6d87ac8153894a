import { build, toOnnx } from "../graph/build.ts"
import { gradient } from "../graph/gradient.ts"
import type { Value } from "../graph/value.ts"
import { inputWeights, type Weights } from "../graph/weights.ts"
import { LimnError } from "../ground/errors.ts"
import type { CpuGenerator } from "../ground/random/cpu-generator.ts"
import type { Tensor } from "../ground/tensor.ts"
import { openSession, type Session } from "../runtime/session.ts"
import {
  type AdamWOptions,
  type AdamWState,
  adamWState,
  adamWStep,
  clipScale,
  globalNorm,
  type Parameters,
} from "./adamw.ts"
import { emaDecay, emaStep } from "./ema.ts"
import { type LearningRateSchedule, learningRateFactor } from "./learning-rate.ts"

/** Something that can be learnt: a scalar loss over a batch, described once, and batches to feed it. */
export interface Objective {
  /** The loss of one batch, over the trainable weights. */
  loss(weights: Weights): Value
  /** The feeds of one batch. All chance comes from `random`, so that a resumed run goes on as it would have. */
  batch(random: CpuGenerator): Readonly<Record<string, Tensor>>
}

/** How the parameters move. */
export interface TrainerOptions extends AdamWOptions {
  /** Optimizer steps in all. */
  readonly steps: number
  readonly schedule: LearningRateSchedule
  readonly warmupSteps: number
  /** Batches whose gradients are averaged for one optimizer step. */
  readonly accumulation: number
  /** Largest norm of all gradients together. */
  readonly clipNorm: number
  /** Largest decay of the running average of the parameters, which is what is kept in the end. */
  readonly emaDecay: number
  /** Processor threads of one run; all cores unless given. */
  readonly threads?: number
}

/** Everything that changes while training, and all that a resumed run needs. */
export interface TrainerState {
  readonly parameters: Parameters
  readonly average: Parameters
  readonly optimizer: AdamWState
  readonly random: CpuGenerator
}

/** What one optimizer step did. */
export interface TrainingStep {
  /** Steps done, this one included. */
  readonly step: number
  readonly loss: number
  readonly learningRate: number
  readonly gradientNorm: number
}

/** The state of a run that begins at these parameters. They are copied to memory that the engine reads in place. */
export function trainerState(initial: Parameters, random: CpuGenerator): TrainerState {
  const parameters = shared(initial)
  return { parameters, average: shared(initial), optimizer: adamWState(parameters), random }
}

/**
 * Trains from the state's step to the last, yielding after every optimizer step, when the state is whole: the
 * caller saves, reports and stops as it likes.
 * Throws a LimnError where the loss is no longer a number.
 */
export async function* trainSteps(
  objective: Objective,
  state: TrainerState,
  options: TrainerOptions,
): AsyncGenerator<TrainingStep> {
  const { parameters, average, optimizer, random } = state
  const session = await openSession(stepGraph(objective, parameters), {
    device: "cpu",
    threads: options.threads,
  })
  try {
    while (optimizer.step < options.steps) {
      const factor = learningRateFactor(optimizer.step, options)
      const { loss, gradients } = await accumulate(
        session,
        objective,
        parameters,
        random,
        options.accumulation,
      )
      if (!Number.isFinite(loss))
        throw new LimnError(
          `The loss is ${loss} at step ${optimizer.step + 1}: lower the learning rate and resume.`,
        )
      const norm = globalNorm(gradients) / options.accumulation
      const scale = clipScale(norm, options.clipNorm) / options.accumulation
      const learningRate = options.learningRate * factor
      adamWStep(parameters, gradients, optimizer, { ...options, learningRate }, scale)
      emaStep(average, parameters, emaDecay(optimizer.step, options.emaDecay))
      yield { step: optimizer.step, loss, learningRate, gradientNorm: norm }
    }
  } finally {
    await session.close()
  }
}

/** Loss and gradients of every parameter in one graph; parameters are inputs, since they change at each step. */
function stepGraph(objective: Objective, parameters: Parameters) {
  const weights = inputWeights(new Map([...parameters].map(([name, { shape }]) => [name, shape])))
  const loss = objective.loss(weights)
  const unused = weights.unread()
  if (unused.length > 0) throw new LimnError(`The loss does not depend on the parameter "${unused[0]}".`)
  const names = [...parameters.keys()]
  const gradients = gradient(
    loss,
    names.map((name) => parameterValue(weights, name)),
  )
  const outputs = Object.fromEntries(names.map((name, i) => [gradientOf(name), gradients[i]]))
  return toOnnx(build({ loss, ...outputs }))
}

function parameterValue(weights: Weights, name: string): Value {
  const dot = name.lastIndexOf(".")
  return dot < 0 ? weights.get(name) : weights.at(name.slice(0, dot)).get(name.slice(dot + 1))
}

async function accumulate(
  session: Session,
  objective: Objective,
  parameters: Parameters,
  random: CpuGenerator,
  batches: number,
): Promise<{ loss: number; gradients: Parameters }> {
  let loss = 0
  const gradients = new Map<string, Tensor<"float32">>()
  for (let k = 0; k < batches; k++) {
    const results = await session.run({ ...Object.fromEntries(parameters), ...objective.batch(random) })
    loss += (results.loss.data as Float32Array)[0] / batches
    for (const name of parameters.keys()) {
      const g = results[gradientOf(name)] as Tensor<"float32">
      const sum = gradients.get(name)
      if (sum === undefined) gradients.set(name, g)
      else for (let i = 0; i < g.data.length; i++) sum.data[i] += g.data[i]
    }
  }
  return { loss, gradients }
}

function gradientOf(name: string): string {
  return `gradient of ${name}`
}

/** Copies over memory that threads share, so that a run reads parameters where they are. */
function shared(parameters: Parameters): Parameters {
  return new Map(
    [...parameters].map(([name, { shape, data }]) => {
      const buffer = new Float32Array(new SharedArrayBuffer(data.byteLength))
      buffer.set(data)
      return [name, { dtype: "float32", shape, data: buffer }]
    }),
  )
}
