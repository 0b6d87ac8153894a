import { absolutePath, exists } from "#platform"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedWeights } from "../graph/weights.ts"
import { FormatError, LimnError } from "../ground/errors.ts"
import type { Asker } from "../models/parameters/check.ts"
import { checkParameters } from "../models/parameters/check.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import { readJson } from "./files.ts"
import { withTensorFile } from "./tensor-file.ts"
import type { WeightFile } from "./weight-files.ts"
import { findWeights } from "./weight-files.ts"

/** One model of a checkpoint: its configuration, and where each of its tensors lies. No weight is read. */
export interface Component {
  /** Its folder or its checkpoint's file, absolute; errors name it. */
  readonly path: string
  /** config.json, parsed and not yet believed. */
  readonly config: unknown
  readonly tensors: ReadonlyMap<string, StoredWeight>
  /** What errors hold the tensors to, where that is not its config.json. */
  readonly asker?: Asker
}

/** How a component's files are read. */
export interface ComponentOptions {
  /** Wanted among several copies of the weights, as in `model.fp16.safetensors`; another is taken where it is missing. */
  readonly variant?: string
  /** Today's name of each tensor, for files that keep older names. */
  readonly rename?: (name: string) => string
  /** Tensors, by today's names, that a model goes without: they may be there or not. */
  readonly unused?: (name: string) => boolean
}

/**
 * Opens a component's folder: config.json, and weights in one file or in shards with an index.
 * Throws a LimnError where a file is missing, a FormatError where one is not what it claims to be.
 */
export async function openComponent(
  folder: string,
  { variant, rename = (name) => name, unused = () => false }: ComponentOptions = {},
): Promise<Component> {
  const path = absolutePath(folder)
  const json = absolutePath(path, "config.json")
  if (!(await exists(json)))
    throw new LimnError(`There is no ${json}; give the folder of one model of a checkpoint.`)
  const config = await readJson(json)
  const tensors = await openTensors(await findWeights(path, variant), rename)
  for (const name of tensors.keys()) if (unused(name)) tensors.delete(name)
  return { path, config, tensors }
}

/**
 * Where every tensor of some weight files lies, under today's name.
 * Throws a LimnError where a file is missing, a FormatError where one is broken, or gives a name a second time.
 */
export async function openTensors(
  files: readonly WeightFile[],
  rename: (name: string) => string,
): Promise<Map<string, StoredWeight>> {
  const tensors = new Map<string, StoredWeight>()
  for (const file of files) await addTensors(tensors, file, rename)
  return tensors
}

/**
 * A maker of weights, once the component's tensors are exactly those of its configuration. Each graph takes weights
 * of its own, which remember what that graph has read.
 * Throws a FormatError that names what is missing, of another shape, or too much.
 */
export function componentWeights(
  { path, tensors, asker }: Component,
  specs: readonly ParameterSpec[],
): () => Weights {
  checkParameters(specs, tensors, path, { asker })
  // Without the tensors that may be there unread.
  const wanted = new Map(specs.map(({ name }) => [name, tensors.get(name)!]))
  return () => storedWeights(wanted, path)
}

/** What errors call a part's configuration: its config.json, or the file that its widths come from. */
export function configPath({ path, asker }: Component): string {
  return asker === undefined ? absolutePath(path, "config.json") : path
}

/**
 * Throws where the model that was built left a tensor unread, for then it is not the model that was published.
 * `unused` says which tensors this graph has no use for, such as the encoder where only the decoder is built.
 */
export function checkAllRead(weights: Weights, { unused = (_: string): boolean => false } = {}): void {
  const left = weights.unread().filter((name) => !unused(name))
  if (left.length > 0)
    throw new LimnError(`The model was built without ${left.length} of its tensors, ${left[0]} the first.`)
}

async function addTensors(
  tensors: Map<string, StoredWeight>,
  { path, expected = [] }: WeightFile,
  rename: (name: string) => string,
): Promise<void> {
  await withTensorFile(path, (file) => {
    for (const name of expected)
      if (!file.tensors.has(name))
        throw new FormatError(`${path} has no tensor ${name}, which the index says it holds; fetch it again.`)
    for (const stored of file.tensors.keys()) {
      const name = rename(stored)
      if (tensors.has(name))
        throw new FormatError(`${path} holds ${name}, which another file or name gives too; fetch it again.`)
      tensors.set(name, file.stored(stored))
    }
  })
}
