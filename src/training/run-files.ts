import { absolutePath, exists, makeFolder, openByteSource, readText, writeFileAtomic } from "#platform"
import { encodeSafetensors, readSafetensorsHeader, readTensor } from "../formats/safetensors.ts"
import { FormatError } from "../ground/errors.ts"
import { type CpuGeneratorState, cpuGeneratorFromState } from "../ground/random/cpu-generator.ts"
import { formatShape, sameShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Parameters } from "./adamw.ts"
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
  const { parameters, average, optimizer, random } = state
  const all = { parameters, average, first: optimizer.first, second: optimizer.second }
  const tensors = new Map<string, Tensor>()
  for (const part of parts) for (const [name, tensor] of all[part]) tensors.set(`${part}/${name}`, tensor)
  const metadata = { step: String(optimizer.step), random: JSON.stringify(random.state()) }
  await writeFileAtomic(absolutePath(folder, stateFile), encodeSafetensors(tensors, metadata))
}

/**
 * Reads a run's state and losses back, or undefined where the folder has none.
 * Throws a FormatError where the state is of other parameters than those of `initial`.
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
    const { parameters, average, optimizer } = fresh
    const into = { parameters, average, first: optimizer.first, second: optimizer.second }
    for (const part of parts)
      fill(into[part], (name) => readTensor(file, `${part}/${name}`), `${path}: ${part}`)
    if (file.tensors.size !== parts.length * parameters.size)
      throw new FormatError(`${path} is the state of another model; choose another output folder.`)
    optimizer.step = Number(file.metadata.step)
    const random = cpuGeneratorFromState(JSON.parse(file.metadata.random) as CpuGeneratorState)
    const losses = (await readLosses(absolutePath(folder, lossFile))).filter(
      (row) => row.step <= optimizer.step,
    )
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

function fill(into: Parameters, read: (name: string) => Tensor, where: string): void {
  for (const [name, { shape, data }] of into) {
    const found = read(name)
    if (found.dtype !== "float32" || !sameShape(found.shape, shape))
      throw new FormatError(
        `${where}/${name} is ${found.dtype}${formatShape(found.shape)} and not float32${formatShape(shape)}; choose another output folder.`,
      )
    data.set(found.data as Float32Array)
  }
}

async function readLosses(path: string): Promise<LossRow[]> {
  const lines = (await readText(path)).trimEnd().split("\n").slice(1)
  return lines.map((line) => {
    const [step, loss, learningRate, gradientNorm, seconds] = line.split(",").map(Number)
    return { step, loss, learningRate, gradientNorm, seconds }
  })
}

async function writeText(path: string, text: string): Promise<void> {
  await writeFileAtomic(path, [new TextEncoder().encode(text)])
}
