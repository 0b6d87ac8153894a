import { cpuCount } from "#platform"
import { build, toOnnx } from "../graph/build.ts"
import { gradient } from "../graph/gradient.ts"
import type { Value } from "../graph/value.ts"
import { inputWeights, type Weights } from "../graph/weights.ts"
import { LimnError } from "../ground/errors.ts"
import { type CpuGenerator, cpuGeneratorFromState } from "../ground/random/cpu-generator.ts"
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

/** Tensors by the names of a graph's inputs. */
type Feeds = Readonly<Record<string, Tensor>>

/** Something that can be learnt: a scalar loss over a batch, described once, and batches to feed it. */
export interface Objective {
  /** The loss of one batch, over the trainable weights. */
  loss(weights: Weights): Value
  /** The feeds of one batch. All chance comes from `random`, so that a resumed run goes on as it would have. */
  batch(random: CpuGenerator): Feeds | Promise<Feeds>
}

/** How the parameters move. */
export interface TrainerOptions extends AdamWOptions {
  /** Optimizer steps in all. */
  readonly steps: number
  readonly schedule: LearningRateSchedule
  readonly warmupSteps: number
  /**
   * Batches whose gradients are averaged for one optimizer step. They run side by side as far as there are threads:
   * two halves of a batch on a thread each take less time than the whole on two threads.
   */
  readonly accumulation: number
  /** Largest norm of all gradients together. */
  readonly clipNorm: number
  /** Largest decay of the running average of the parameters, which is what is kept in the end. */
  readonly emaDecay: number
  /** Processor threads in all; one for each core unless given. */
  readonly threads?: number
}

/** Everything that changes while training, and all that a resumed run needs. */
export interface TrainerState {
  readonly parameters: Parameters
  readonly average: Parameters
  readonly optimizer: AdamWState
  random: CpuGenerator
}

/** What one optimizer step did. */
export interface TrainingStep {
  /** Steps done, this one included. */
  readonly step: number
  readonly loss: number
  readonly learningRate: number
  readonly gradientNorm: number
}

/** The loss or its gradient is no longer a number: what was learnt last is worth nothing. */
export class DivergenceError extends LimnError {
  override name = "DivergenceError"
}

/** The state of a run that begins at these parameters. They are copied to memory that the engine reads in place. */
export function trainerState(initial: Parameters, random: CpuGenerator): TrainerState {
  const parameters = shared(initial)
  return { parameters, average: shared(initial), optimizer: adamWState(parameters), random }
}

/**
 * Trains from the state's step to the last, yielding after every optimizer step, when the state is whole: the
 * caller saves, reports and stops as it likes. The session closes when the caller leaves the loop.
 * Throws a DivergenceError where the loss or its gradient is no longer a number, and whatever the objective throws; the state then
 * stands as it did after the step before.
 */
export async function* trainSteps(
  objective: Objective,
  state: TrainerState,
  options: TrainerOptions,
): AsyncGenerator<TrainingStep> {
  const { parameters, average, optimizer } = state
  const graph = stepGraph(objective, parameters)
  const sessions: Session[] = []
  try {
    for (const lane of lanes(options)) sessions.push(await openSession(graph, { device: "cpu", ...lane }))
    while (optimizer.step < options.steps) {
      const { loss, gradients, norm } = await accumulate(sessions, objective, state, options.accumulation)
      const scale = clipScale(norm, options.clipNorm) / options.accumulation
      const learningRate = options.learningRate * learningRateFactor(optimizer.step, options)
      adamWStep(parameters, gradients, optimizer, { ...options, learningRate }, scale)
      emaStep(average, parameters, emaDecay(optimizer.step, options.emaDecay))
      yield { step: optimizer.step, loss, learningRate, gradientNorm: norm }
    }
  } finally {
    for (const session of sessions) await session.close()
  }
}

/** As many lanes as there are batches and threads for, which the lanes share. */
function lanes({ accumulation, threads }: TrainerOptions) {
  const all = threads ?? cpuCount()
  const count = Math.min(accumulation, all)
  if (count === 1) return [{ lane: 0, threads }]
  return Array.from({ length: count }, (_, lane) => ({ lane, threads: Math.floor(all / count) }))
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

/** The mean loss of some batches, the sum of their gradients, and their mean's norm. Where it throws, no chance was used. */
async function accumulate(
  sessions: readonly Session[],
  objective: Objective,
  state: TrainerState,
  batches: number,
): Promise<{ loss: number; gradients: Parameters; norm: number }> {
  const before = state.random.state()
  try {
    const feeds: Feeds[] = []
    for (let k = 0; k < batches; k++) feeds.push(await objective.batch(state.random))
    const sums = await Promise.all(
      sessions.map((session, lane) => {
        const share = feeds.filter((_, k) => k % sessions.length === lane)
        return runBatches(session, share, state.parameters)
      }),
    )
    // One lane after the other, so that the same batches give the same bits.
    const { loss: total, gradients } = sums.reduce(addTo)
    const loss = total / batches
    const norm = globalNorm(gradients) / batches
    if (!Number.isFinite(loss) || !Number.isFinite(norm))
      throw new DivergenceError(
        `At step ${state.optimizer.step + 1} the loss is ${loss} and its gradient's norm ${norm}: lower the learning rate and resume.`,
      )
    return { loss, gradients, norm }
  } catch (error) {
    state.random = cpuGeneratorFromState(before)
    throw error
  }
}

/** Losses and gradients of some batches, summed. */
interface BatchSums {
  readonly loss: number
  readonly gradients: Parameters
}

async function runBatches(
  session: Session,
  batches: readonly Feeds[],
  parameters: Parameters,
): Promise<BatchSums> {
  let sums: BatchSums | undefined
  for (const feeds of batches) {
    const results = await session.run({ ...Object.fromEntries(parameters), ...feeds })
    const gradients = new Map<string, Tensor<"float32">>()
    for (const name of parameters.keys()) gradients.set(name, results[gradientOf(name)] as Tensor<"float32">)
    const one = { loss: (results.loss.data as Float32Array)[0], gradients }
    sums = sums === undefined ? one : addTo(sums, one)
  }
  return sums!
}

/** Adds `more` to `sums`, whose arrays are used on. */
function addTo(sums: BatchSums, more: BatchSums): BatchSums {
  for (const [name, { data: sum }] of sums.gradients) {
    const { data } = more.gradients.get(name)!
    for (let i = 0; i < sum.length; i++) sum[i] += data[i]
  }
  return { loss: sums.loss + more.loss, gradients: sums.gradients }
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
