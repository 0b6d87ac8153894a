import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import type { IpScale } from "../models/ip-scale.ts"
import type { HubOptions } from "../pipelines/hub-model.ts"
import { ipAdapter } from "../pipelines/ip-adapter.ts"
import type { IpAdapter } from "../pipelines/model.ts"
import type { Settings } from "../pipelines/settings.ts"
import { readPicture } from "./picture.ts"

/** What commands that draw can be told of an IP-Adapter. */
export interface IpOptions {
  readonly ipAdapter?: string
  /** Paths of the pictures that it looks at. */
  readonly ipImage?: readonly string[]
  readonly ipScale?: IpScale
  /** The folder of its image encoder. */
  readonly ipEncoder?: string
  /** How often it is given to the model; default 1. */
  readonly ipCopies?: number
}

/** The pictures that are given to look at. Throws a UsageError where there are none for an adapter, or none to look. */
export async function readIpImages(options: IpOptions): Promise<readonly Pixels[]> {
  const { ipAdapter: adapter, ipImage = [], ipScale: scale, ipEncoder: encoder } = options
  if (adapter === undefined)
    for (const [name, value] of Object.entries({ image: ipImage[0], scale, encoder }))
      if (value !== undefined)
        throw new UsageError(`--ip-${name} is for an IP-Adapter; say where that is with --ip-adapter.`)
  if (adapter !== undefined && ipImage.length === 0)
    throw new UsageError("An IP-Adapter draws after pictures; give one with --ip-image.")
  return Promise.all(ipImage.map(readPicture))
}

/** The IP-Adapter that is given, as a list of as many as are wanted. */
export function ipAdditions(options: IpOptions, fetching: HubOptions): readonly IpAdapter[] {
  const { ipAdapter: path, ipScale: scale, ipEncoder: imageEncoder, ipCopies = 1 } = options
  if (path === undefined) return []
  return new Array<IpAdapter>(ipCopies).fill(ipAdapter(path, { ...fetching, scale, imageEncoder }))
}

/**
 * The scale given, or else that of the IP-Adapter that a picture's file names. Throws a UsageError where none is given for
 * it, or it names several, of which the command line takes one.
 */
export function ipScaleAgain(
  options: IpOptions,
  named: NonNullable<Settings["ipAdapters"]>,
  path: string,
): IpScale | undefined {
  if (named.length > 1)
    throw new UsageError(
      `${path} was drawn with ${named.length} IP-Adapters, and the command line takes one; draw it by limn's textToImage.`,
    )
  const [one] = named
  if (one !== undefined && options.ipAdapter === undefined)
    throw new UsageError(
      `${path} was drawn with the IP-Adapter ${JSON.stringify(one.name)}; say where that is with --ip-adapter, and what it looked at with --ip-image.`,
    )
  return options.ipScale ?? one?.scale
}
