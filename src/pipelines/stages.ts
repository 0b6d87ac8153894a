import type { ValueType } from "../graph/value.ts"
import { LimnError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Network } from "./network.ts"

/** A part of a model that runs on what the parts before it gave. */
export interface Stage {
  readonly network: Network
  /** What it is fed, inputs of the whole or outputs of the stage before it: their types, where the whole is fed these. */
  takes(inputs: Tensors): Readonly<Record<string, ValueType>>
}

type Tensors = Readonly<Record<string, Tensor>>

interface Run {
  readonly inputs: Tensors
  readonly outputs: readonly string[] | undefined
  resolve(outputs: Record<string, Tensor>): void
  reject(error: unknown): void
}

/**
 * Stages that run one after the other as one network, each loaded while the one before it runs, where they have lanes of
 * their own, and given back at its end. Runs asked for while others go on wait, and then go through each stage together, so
 * that it is loaded once for all of them. The last stage gives the outputs.
 */
export function stagedNetwork(stages: readonly Stage[]): Network {
  let waiting: Run[] = []
  let last = Promise.resolve()
  let closed = false
  const checkOpen = () => {
    if (closed) throw new LimnError("The model is closed; load it again to use it.")
  }

  const runWaiting = async () => {
    const runs = waiting
    waiting = []
    if (runs.length === 0) return
    try {
      const results = await runStages(stages, runs)
      for (const [i, run] of runs.entries()) run.resolve(results[i])
    } catch (error) {
      for (const run of runs) run.reject(error)
    }
  }
  const run: Network["run"] = async (inputs, outputs) => {
    checkOpen()
    return new Promise((resolve, reject) => {
      waiting.push({ inputs, outputs, resolve, reject })
      last = last.then(runWaiting)
    })
  }
  return {
    run,
    async open(inputs) {
      checkOpen()
      return { reads: new Set(Object.keys(inputs)), run, release() {} }
    },
    isLoaded: () => stages.some(({ network }) => network.isLoaded()),
    with(updates, fixed) {
      checkOpen()
      return stagedNetwork(
        stages.map(({ network, takes }) => ({ takes, network: network.with(updates, fixed) })),
      )
    },
    rewritten(pass) {
      checkOpen()
      return stagedNetwork(stages.map(({ network, takes }) => ({ takes, network: network.rewritten(pass) })))
    },
    async close() {
      closed = true
      await last
      await Promise.all(stages.map(({ network }) => network.close()))
    },
  }
}

/** The outputs of each run. */
async function runStages(stages: readonly Stage[], runs: readonly Run[]): Promise<Record<string, Tensor>[]> {
  let given: Record<string, Tensor>[] = runs.map(() => ({}))
  // Held, so that runs of the same types find it loaded.
  const open = (stage: Stage | undefined) => stage?.network.open(stage.takes(runs[0].inputs))
  let opening = open(stages[0])
  for (const [i, { network, takes }] of stages.entries()) {
    const held = await opening
    opening = open(stages[i + 1])
    // It is waited for later, or never.
    opening?.catch(() => {})
    try {
      const results: typeof given = []
      for (const [n, { inputs, outputs }] of runs.entries()) {
        const feeds = Object.keys(takes(inputs)).map((name) => [name, given[n][name] ?? inputs[name]])
        const wanted = i === stages.length - 1 ? outputs : undefined
        results.push(await network.run(Object.fromEntries(feeds), wanted))
      }
      given = results
    } catch (error) {
      opening?.then(({ release }) => release()).catch(() => {})
      throw error
    } finally {
      held?.release()
    }
  }
  return given
}
