import { absolutePath, exists, makeFolder, openByteSource, readText, writeFileAtomic } from "#platform"
import {
  encodeSafetensors,
  readSafetensorsHeader,
  readTensor,
  type SafetensorsFile,
} from "../formats/safetensors.ts"
import { FormatError } from "../ground/errors.ts"
import { type CpuGenerator, cpuGeneratorFromState } from "../ground/random/cpu-generator.ts"
import { formatShape, sameShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { type LossRow, lossChart } from "./loss-chart.ts"
import type { TrainerState } from "./trainer.ts"

const stateFile = "state.safetensors"
const lossFile = "loss.csv"
const lossHeader = "step,loss,learning_rate,gradient_norm,seconds"

/** The four tensors that each parameter has in a saved state. */
const parts = ["parameters", "average", "first", "second"] as const

/**
 * Writes a run's state and losses. Each file is whole or not there at all; the losses go first, so that a state
 * never lacks the losses that led to it.
 */
export async function saveRun(
  folder: string,
  state: TrainerState,
  losses: readonly LossRow[],
): Promise<void> {
  await makeFolder(folder)
  const rows = losses.map((row) =>
    [row.step, row.loss, row.learningRate, row.gradientNorm, row.seconds.toFixed(1)].join(),
  )
  await writeText(absolutePath(folder, lossFile), `${[lossHeader, ...rows].join("\n")}\n`)
  await writeText(absolutePath(folder, "loss.svg"), lossChart(losses))
  const all = partsOf(state)
  const tensors = new Map<string, Tensor>()
  for (const part of parts) for (const [name, tensor] of all[part]) tensors.set(`${part}/${name}`, tensor)
  const metadata = { step: String(state.optimizer.step), random: JSON.stringify(state.random.state()) }
  await writeFileAtomic(absolutePath(folder, stateFile), encodeSafetensors(tensors, metadata))
}

/**
 * Reads a run's state and losses back, or undefined where the folder has none. Losses of steps after the saved state,
 * of a run that was killed between the two files, are left out: those steps come again.
 * Throws a FormatError where the state is not that of the parameters of `fresh`, whose arrays are filled and used on.
 */
export async function resumeRun(
  folder: string,
  fresh: TrainerState,
): Promise<{ state: TrainerState; losses: LossRow[] } | undefined> {
  const path = absolutePath(folder, stateFile)
  if (!(await exists(path))) return undefined
  const source = await openByteSource(path)
  try {
    const file = readSafetensorsHeader(source)
    const into = partsOf(fresh)
    checkSameModel(file, into, path)
    for (const part of parts)
      for (const [name, { data }] of into[part])
        data.set(readTensor(file, `${part}/${name}`).data as Float32Array)
    const { step, random } = progressOf(file)
    fresh.optimizer.step = step
    const losses = (await readLosses(absolutePath(folder, lossFile))).filter((row) => row.step <= step)
    return { state: { ...fresh, random }, losses }
  } finally {
    source.close()
  }
}

/** Writes one part of a model as a checkpoint holds it: config.json and its tensors. */
export async function saveComponent(
  folder: string,
  file: string,
  config: unknown,
  tensors: ReadonlyMap<string, Tensor>,
): Promise<void> {
  await makeFolder(folder)
  await writeFileAtomic(absolutePath(folder, file), encodeSafetensors(new Map(tensors), { format: "pt" }))
  await writeText(absolutePath(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`)
}

/** The parameters, their average and the optimizer's two means, as a file names them. */
function partsOf({ parameters, average, optimizer }: TrainerState) {
  return { parameters, average, first: optimizer.first, second: optimizer.second }
}

/** Throws where the file does not hold exactly the tensors that the parts have. */
function checkSameModel(file: SafetensorsFile, into: ReturnType<typeof partsOf>, path: string): void {
  const wanted = parts.flatMap((part) =>
    [...into[part]].map(([name, { shape }]) => [`${part}/${name}`, shape] as const),
  )
  for (const [name, shape] of wanted) {
    const found = file.tensors.get(name)
    if (found?.dtype !== "float32" || !sameShape(found.shape, shape)) {
      const instead = found ? `${found.storedAs}${formatShape(found.shape)}` : "nothing"
      throw new FormatError(
        `${path} is the state of another model, with ${instead} for "${name}" of float32${formatShape(shape)}; choose another output folder.`,
      )
    }
  }
  if (file.tensors.size > wanted.length)
    throw new FormatError(
      `${path} is the state of another model, with ${file.tensors.size} tensors for ${wanted.length}; choose another output folder.`,
    )
}

function progressOf({ metadata, source }: SafetensorsFile): { step: number; random: CpuGenerator } {
  try {
    const step = Number.parseInt(metadata.step, 10)
    if (step >= 0) return { step, random: cpuGeneratorFromState(JSON.parse(metadata.random)) }
  } catch {
    // Said below.
  }
  throw new FormatError(`${source.name} does not say how far its run was; choose another output folder.`)
}

async function readLosses(path: string): Promise<LossRow[]> {
  // Only a log: a run goes on without it.
  if (!(await exists(path))) return []
  const lines = (await readText(path)).trimEnd().split("\n").slice(1)
  return lines.map((line) => {
    const [step, loss, learningRate, gradientNorm, seconds] = line.split(",").map(Number)
    return { step, loss, learningRate, gradientNorm, seconds }
  })
}

async function writeText(path: string, text: string): Promise<void> {
  await writeFileAtomic(path, [new TextEncoder().encode(text)])
}
