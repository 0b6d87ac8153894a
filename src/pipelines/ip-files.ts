import { absolutePath, exists, fetchSnapshot, list } from "#platform"
import { LimnError, UsageError } from "../ground/errors.ts"
import { looksLikeRepo } from "../runtime/hub/names.ts"
import type { RemoteFolder } from "../runtime/hub/snapshot.ts"
import { lastPart } from "./files.ts"
import { dirOf, neededWeights } from "./hub-model.ts"
import type { IpAdapter } from "./model.ts"
import { namesSingleFile } from "./single-file.ts"

/** Where an IP-Adapter lies on this machine, absolute. */
export interface IpAdapterPlaces {
  readonly file: string
  /** The folder of its image encoder; undefined where there is none, as some that read faces need none. */
  readonly imageEncoder: string | undefined
}

/** What authors call the folder of the image encoder that adapters beside it were trained with; Kolors' FaceID the second. */
export const ENCODERS = ["image_encoder", "clip-vit-large-patch14-336"] as const

/**
 * Finds an IP-Adapter: its file, a folder with one, or the same in a repo of the Hub (`org/name`, `org/name/path`), from
 * which it is fetched with its image encoder. That is beside the file unless said otherwise.
 * Throws a UsageError where there is nothing at the path, or several adapters, a LimnError where the image encoder is not
 * where it was said, or not in the repo of an adapter that is not called FaceID.
 */
export async function findIpAdapter(given: IpAdapter, variant: string | undefined): Promise<IpAdapterPlaces> {
  const place = absolutePath(given.path)
  if (await exists(place)) return local(given, place)
  const [, repo, inside = ""] = /^([^/\\]+\/[^/\\]+?)(?:\/(.+?))?\/?$/.exec(given.path) ?? []
  if (repo === undefined || !looksLikeRepo(repo) || (inside === "" && namesSingleFile(repo)))
    throw new UsageError(
      `There is no IP-Adapter at ${given.path}; give a file, a folder, or its place on the Hub, as org/name or org/name/folder/file.`,
    )
  return fetched({ ...given, variant }, repo, inside)
}

async function local({ path, imageEncoder }: IpAdapter, place: string): Promise<IpAdapterPlaces> {
  const isFile = namesSingleFile(place)
  const file = isFile ? place : absolutePath(place, adapterAmong(await list(place), path))
  const given = imageEncoder === undefined ? undefined : absolutePath(imageEncoder)
  for (const encoder of given ? [given] : ENCODERS.map((name) => absolutePath(file, "..", name)))
    if (await exists(absolutePath(encoder, "config.json"))) return { file, imageEncoder: encoder }
  if (given !== undefined) throw withoutEncoder(path, given)
  return { file, imageEncoder: undefined }
}

async function fetched(given: IpAdapter, repo: string, inside: string): Promise<IpAdapterPlaces> {
  const { path, imageEncoder, variant, revision, signal, onProgress } = given
  // An encoder that is here already is not fetched.
  const here = imageEncoder !== undefined && (await exists(absolutePath(imageEncoder, "config.json")))
  let file = ""
  let encoder: string | undefined
  const choose = async (remote: RemoteFolder) => {
    const { names } = remote
    const folder = names.has(inside) ? dirOf(inside) : inside
    const below = (name: string) => (folder === "" ? name : `${folder}/${name}`)
    const beside = [...names].filter((name) => dirOf(name) === folder)
    if (beside.length === 0)
      throw new UsageError(`${repo} has no ${inside}; give the place of an IP-Adapter in it.`)
    file = names.has(inside) ? inside : below(adapterAmong(beside.map(lastPart), path))
    if (here) return [file]
    const wanted = imageEncoder === undefined ? ENCODERS.map(below) : [imageEncoder]
    encoder = wanted.find((folder) => names.has(`${folder}/config.json`))
    if (encoder === undefined && imageEncoder === undefined && /face-?id/i.test(file)) return [file]
    if (encoder === undefined) throw withoutEncoder(path, wanted[0])
    return [file, `${encoder}/config.json`, ...(await neededWeights(remote, encoder, variant))]
  }
  const root = await fetchSnapshot({ repo, revision, signal, onProgress, choose })
  return {
    file: absolutePath(root, file),
    imageEncoder: here ? absolutePath(imageEncoder) : encoder && absolutePath(root, encoder),
  }
}

/** The one file of weights among the names in a folder; safetensors where it comes in both formats. */
function adapterAmong(names: readonly string[], path: string): string {
  const stem = (name: string) => name.replace(/\.[^.]+$/, "")
  const files = names.filter(namesSingleFile)
  const adapters = files.filter(
    (name) => name.endsWith(".safetensors") || !files.includes(`${stem(name)}.safetensors`),
  )
  if (adapters.length === 1) return adapters[0]
  if (adapters.length === 0)
    throw new UsageError(`${path} holds no file of weights; give the file or the folder of an IP-Adapter.`)
  throw new UsageError(
    `${path} holds several IP-Adapters; say which, as ${path.replace(/[\\/]$/, "")}/${adapters[0]}. There are ${adapters.join(", ")}.`,
  )
}

/** The error of an adapter that has no image encoder at such a place, and needs one. */
export function withoutEncoder(path: string, encoder: string): LimnError {
  return new LimnError(
    `The IP-Adapter ${path} has no image encoder at ${encoder}; say where the one is that it was trained with, as imageEncoder.`,
  )
}
