import type { Shape } from "../../ground/shape.ts"

/** How a tensor is filled before training: a constant, U(-bound, bound) or N(0, std). */
export type Init =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "uniform"; readonly bound: number }
  | { readonly kind: "normal"; readonly std: number }

/** One tensor of a model before it has a name. */
export interface Parameter {
  readonly shape: Shape
  readonly init: Init
}

/** One tensor of a model: its name in published checkpoints, its shape, and how training from scratch begins. */
export interface ParameterSpec extends Parameter {
  readonly name: string
}

/** A model as its tensors lie in a checkpoint: keys and list indices are the parts of their names. */
export interface Module {
  readonly [name: string]: Parameter | Module | ModuleList | undefined
}

export type ModuleList = readonly (Module | undefined)[]

/** The tensors of a module in order, each under its dotted name; parts that are undefined have none. */
export function parametersOf(module: Module | ModuleList, scope = ""): ParameterSpec[] {
  return Object.entries(module).flatMap(([key, part]: [string, Module[string]]) => {
    const name = scope === "" ? key : `${scope}.${key}`
    if (part === undefined) return []
    return isParameter(part) ? [{ name, ...part }] : parametersOf(part, name)
  })
}

function isParameter(part: Parameter | Module | ModuleList): part is Parameter {
  return "init" in part
}
