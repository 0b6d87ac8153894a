import type { CpuGenerator } from "../ground/random/cpu-generator.ts"
import { type Tensor, toFloat32 } from "../ground/tensor.ts"
import { checkParameters } from "../models/parameters/check.ts"
import { initialize } from "../models/parameters/initialize.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import { type Component, openComponent } from "../pipelines/component.ts"
import { readStored } from "../pipelines/stored-weight.ts"
import type { Parameters } from "./adamw.ts"

/**
 * The parameters that a run begins at: fresh ones, or those of a component's folder as float32.
 * Throws a FormatError where the folder holds other tensors.
 */
export async function startParameters(
  from: "scratch" | "weights",
  folder: string,
  specs: readonly ParameterSpec[],
  random: CpuGenerator,
): Promise<Parameters> {
  if (from === "scratch") return initialize(specs, random)
  return readParameters(await openComponent(folder), specs)
}

/** All tensors of a component as float32. Throws a FormatError where it holds others than these. */
export async function readParameters(
  { tensors, path }: Component,
  specs: readonly ParameterSpec[],
): Promise<Parameters> {
  checkParameters(specs, tensors, path)
  const parameters = new Map<string, Tensor<"float32">>()
  for (const { name } of specs) parameters.set(name, toFloat32(await readStored(tensors.get(name)!)))
  return parameters
}
