import type { StoredWeight } from "../graph/weights.ts"
import { storedRows } from "../graph/weights.ts"
import { fnv1a } from "../ground/hash.ts"
import { rawBytes } from "../ground/tensor.ts"
import { readStored } from "./stored-weight.ts"

/** Tells one version of weights from another, by their names and types and the first row of each; `about` joins in. */
export async function fingerprint(
  weights: Iterable<readonly [name: string, weight: StoredWeight]>,
  about: string,
): Promise<string> {
  let hash = fnv1a(new TextEncoder().encode(about))
  for (const [name, weight] of weights) {
    hash = fnv1a(new TextEncoder().encode(`${name} ${weight.dtype} ${weight.shape}`), hash)
    const { data } = await readStored(weight.shape.length > 1 ? storedRows(weight, [0, 1], name) : weight)
    hash = fnv1a(rawBytes(data), hash)
  }
  return hash.toString(16)
}
