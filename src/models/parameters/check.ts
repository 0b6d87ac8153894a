import { FormatError } from "../../ground/errors.ts"
import type { Shape } from "../../ground/shape.ts"
import { formatShape, sameShape } from "../../ground/shape.ts"
import type { ParameterSpec } from "./module.ts"

/** How many names an error gives before it only counts. */
const shown = 3

/** Buffers that transformers once saved beside the weights; they only count 0, 1, 2. */
const positionIds = /(^|\.)position_ids$/

/**
 * Checks that a checkpoint holds exactly the tensors that its configuration implies.
 *   found    every tensor of the checkpoint, under the names that limn uses (see ../names.ts)
 *   source   the checkpoint's name in errors
 *   ignore   names that may be there unread, beside `position_ids` buffers
 * Throws a FormatError for missing tensors, else for the first of a wrong shape, else for unexpected ones.
 */
export function checkParameters(
  specs: readonly ParameterSpec[],
  found: ReadonlyMap<string, { readonly shape: Shape }>,
  source: string,
  { ignore = () => false }: { readonly ignore?: (name: string) => boolean } = {},
): void {
  const missing = specs.filter((spec) => !found.has(spec.name)).map((spec) => spec.name)
  if (missing.length > 0)
    throw new FormatError(
      `${source} lacks ${list(missing)} of the ${specs.length} tensors that its config.json asks for; ` +
        "download it again, or use the config.json that belongs to it.",
    )
  for (const { name, shape } of specs) {
    const actual = found.get(name)?.shape ?? []
    if (!sameShape(shape, actual))
      throw new FormatError(
        `${source} holds ${name} with shape ${formatShape(actual)} where its config.json asks for ` +
          `${formatShape(shape)}; use the config.json that belongs to it.`,
      )
  }
  const known = new Set(specs.map((spec) => spec.name))
  const unexpected = [...found.keys()].filter(
    (name) => !known.has(name) && !positionIds.test(name) && !ignore(name),
  )
  if (unexpected.length > 0)
    throw new FormatError(
      `${source} also holds ${list(unexpected)}, which its config.json does not ask for; ` +
        "use the config.json that belongs to it.",
    )
}

/** `a, b, c and 9 more`. */
function list(names: readonly string[]): string {
  const rest = names.length - shown
  return names.slice(0, shown).join(", ") + (rest > 0 ? ` and ${rest} more` : "")
}
