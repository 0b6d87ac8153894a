import { absolutePath, fetchSnapshot } from "#platform"
import { LimnError } from "../ground/errors.ts"
import type { FetchProgress, RemoteFolder } from "../runtime/hub/snapshot.ts"
import {
  holdsModel,
  identifyingFiles,
  networksOf,
  partsOf,
  readModelIndex,
  safetyCheckerFolders,
} from "./family.ts"
import { findWeights } from "./weight-files.ts"

/** How a model of the Hub is fetched. */
export interface HubOptions {
  /** A branch, a tag or a commit (default: main). */
  readonly revision?: string
  /** Wanted among copies of the weights, as "fp16" or "non_ema" (default: "fp16" where it runs in fp16). */
  readonly variant?: string
  /** Stops fetching; what is here by then is not fetched again. */
  readonly signal?: AbortSignal
  /** Follows what is fetched. */
  readonly onProgress?: (progress: FetchProgress) => void
  /**
   * Whether the model's own safety checker, where it has one, looks at every picture and withholds those that its makers
   * do not want shown (default: true). It is then fetched with the model: 1.2 GB for Stable Diffusion 1.4.
   */
  readonly safetyChecker?: boolean
}

/** The settings of a part, and its vocabulary: everything but weights, and but other programs' copies of those. */
const small = /\.(json|txt|model)$/
const weightIndex = /\.(safetensors|bin|msgpack|h5)\.index\b/

/**
 * The folder of a model of the Hub, `org/name`, with all that a run needs of it, in the cache that Python's
 * huggingface_hub uses too. Throws as `fetchSnapshot` does, and where limn cannot run the model, before its weights
 * are fetched.
 */
export function hubModel(repo: string, options: HubOptions): Promise<string> {
  const { variant, safetyChecker, ...order } = options
  return fetchSnapshot({ ...order, repo, choose: (remote) => neededFiles(remote, repo, options) })
}

/**
 * The folder of a repo that is one network, such as a ControlNet: its settings and one form of its weights. Throws as
 * `fetchSnapshot` does, and a LimnError where the repo is something else.
 */
export function hubNetwork(repo: string, { variant, ...options }: HubOptions): Promise<string> {
  const choose = async (remote: RemoteFolder) => {
    if (!remote.names.has("config.json"))
      throw new LimnError(
        `${repo} has no config.json, so it is no network in diffusers' layout; limn fetches no others.`,
      )
    return ["config.json", ...(await neededWeights(remote, "", variant))]
  }
  return fetchSnapshot({ ...options, repo, choose })
}

/** The index says of which parts a model is; each needs its settings, and a network one form of its weights. */
async function neededFiles(
  remote: RemoteFolder,
  repo: string,
  { variant, safetyChecker = true }: HubOptions,
): Promise<string[]> {
  const { folder, names, fetch } = remote
  const identifying = identifyingFiles.filter((name) => names.has(name))
  for (const name of identifying) await fetch(name)
  if (!(await holdsModel(folder)))
    throw new LimnError(
      `${repo} has no model_index.json, so it is no whole model in diffusers' layout; limn fetches no others.`,
    )
  const { family, checksSafety } = await readModelIndex(folder)
  const checker = safetyChecker && checksSafety ? safetyCheckerFolders : undefined
  const parts = [...partsOf(family), ...Object.values(checker ?? {})]
  const networks = [...networksOf(family), ...(checker ? [checker.network] : [])]
  const settings = [...names].filter(
    (name) => parts.includes(dirOf(name)) && small.test(name) && !weightIndex.test(name),
  )
  const weights: string[] = []
  for (const part of networks) weights.push(...(await neededWeights(remote, part, variant)))
  const own = ["model_index.json", "limn.json"].filter((name) => names.has(name))
  return [...own, ...settings, ...weights]
}

/** The weights that `openComponent` will find, and the index that names them where they are in shards. */
export async function neededWeights(
  { folder, names, fetch }: RemoteFolder,
  part: string,
  variant: string | undefined,
): Promise<string[]> {
  const nameOf = (path: string) => path.slice(folder.length + 1).replaceAll("\\", "/")
  const indices: string[] = []
  const files = await findWeights(absolutePath(folder, part), variant, async (path) => {
    const name = nameOf(path)
    if (!names.has(name)) return false
    if (name.endsWith(".json")) {
      await fetch(name)
      indices.push(name)
    }
    return true
  })
  return [...indices, ...files.map(({ path }) => nameOf(path))]
}

/** The folder of a file of a repo, "" for its root. */
export function dirOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf("/")))
}
