import { UsageError } from "../ground/errors.ts"
import type { IpAdapterInputs } from "../models/ip-adapter.ts"

/** What the denoiser's graph calls what it is fed for one of a model's IP-Adapters, by its place among them. */
export interface IpFeeds {
  /** What the names of its weights begin with. */
  readonly prefix: string
  /** [B, N, T, D] */
  readonly tokens: string
  /** [L] */
  readonly scales: string
  /** [B, N, queries] */
  mask(queries: number): string
  /** The values of these names. Throws a UsageError where there are no tokens; `path` names the adapter. */
  among(inputs: Readonly<Record<string, IpAdapterInputs["tokens"]>>, path: string): IpAdapterInputs
}

/** The names for the adapter at such a place. */
export function ipFeeds(place: number): IpFeeds {
  const prefix = `ip${place}`
  const tokens = `${prefix}.tokens`
  const scales = `${prefix}.scales`
  const mask = (queries: number) => `${prefix}.mask.${queries}`
  return {
    prefix,
    tokens,
    scales,
    mask,
    among(inputs, path) {
      if (inputs[tokens] === undefined) throw withoutPictures(path)
      return {
        tokens: inputs[tokens],
        scales: inputs[scales],
        mask: (queries) => inputs[mask(queries)],
      }
    },
  }
}

/** The error of a model that is to look at pictures, and has none. */
export function withoutPictures(path: string): UsageError {
  return new UsageError(
    `The IP-Adapter ${path} has no picture to look at; give one as ipImages (for denoise, what encodeIpImages makes of it), or use the model without it.`,
  )
}
