import { FormatError } from "../../ground/errors.ts"
import type { Shape } from "../../ground/shape.ts"
import { formatShape, sameShape } from "../../ground/shape.ts"
import type { ParameterSpec } from "./module.ts"

/** How many names an error gives before it only counts. */
const shown = 3

/** Buffers that transformers once saved beside the weights; they only count 0, 1, 2. */
const positionIds = /(^|\.)position_ids$/

/** What a checkpoint is held to, as errors name it. */
export interface Asker {
  /** As in "its config.json". */
  readonly name: string
  /** What to do where the two do not go together, as in "use the config.json that belongs to it". */
  readonly remedy: string
}

interface CheckOptions {
  readonly ignore?: (name: string) => boolean
  readonly asker?: Asker
}

const ownConfig: Asker = {
  name: "its config.json",
  remedy: "use the config.json that belongs to it",
}

/**
 * Checks that a checkpoint holds exactly the tensors that its configuration implies.
 *   found    every tensor of the checkpoint, under the names that limn uses (see ../names.ts)
 *   source   the checkpoint's name in errors
 *   ignore   names that may be there unread, beside `position_ids` buffers
 *   asker    what asks for the tensors, and what to do where that does not suit the checkpoint
 * Throws a FormatError for missing tensors, else for the first of a wrong shape, else for unexpected ones.
 */
export function checkParameters(
  specs: readonly ParameterSpec[],
  found: ReadonlyMap<string, { readonly shape: Shape }>,
  source: string,
  { ignore = () => false, asker: { name: asker, remedy } = ownConfig }: CheckOptions = {},
): void {
  const missing = specs.filter((spec) => !found.has(spec.name)).map((spec) => spec.name)
  if (missing.length > 0)
    throw new FormatError(
      `${source} lacks ${list(missing)} of the ${specs.length} tensors that ${asker} asks for; ` +
        `download it again, or ${remedy}.`,
    )
  for (const { name, shape } of specs) {
    const actual = found.get(name)?.shape ?? []
    if (!sameShape(shape, actual))
      throw new FormatError(
        `${source} holds ${name} with shape ${formatShape(actual)} where ${asker} asks for ` +
          `${formatShape(shape)}; ${remedy}.`,
      )
  }
  const known = new Set(specs.map((spec) => spec.name))
  const unexpected = [...found.keys()].filter(
    (name) => !known.has(name) && !positionIds.test(name) && !ignore(name),
  )
  if (unexpected.length > 0)
    throw new FormatError(
      `${source} also holds ${list(unexpected)}, which ${asker} does not ask for; ${remedy}.`,
    )
}

/** `a, b, c and 9 more`. */
function list(names: readonly string[]): string {
  const rest = names.length - shown
  return names.slice(0, shown).join(", ") + (rest > 0 ? ` and ${rest} more` : "")
}
