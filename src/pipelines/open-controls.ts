import { UsageError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32, zeros } from "../ground/tensor.ts"
import { controlNetReads, residualScales, residualShapes } from "../models/controlnet.ts"
import type { Residuals, WalkControl } from "./controls.ts"
import { mapResiduals, namedResiduals } from "./controls.ts"
import { isWithin } from "./interval.ts"
import type { Conditioning, Model } from "./model.ts"
import type { OpenNetwork } from "./network.ts"
import { joinRows } from "./rows.ts"

/** What decides how the ControlNets of a model take part in a walk. */
export interface ControlledWalk {
  /** [B, C, h, w] */
  readonly latents: Tensor<"float32">
  readonly conditioning: Conditioning
  /** One for each ControlNet of the model; without them all, none takes part. */
  readonly controls?: readonly WalkControl[]
  /**
   * The ControlNets alone say what to draw: the negative half of guidance does without them, and what they say of the
   * whole weighs more than what they say of its details (Zhang et al. 2023).
   */
  readonly guessMode?: boolean
}

/** A model's ControlNets, loaded for one walk. */
export interface OpenControls {
  /** Residuals that change nothing, a row for each row of the denoiser. */
  readonly none: Residuals
  /**
   * What the ControlNets add to the denoiser at step `index` of `steps`, all together, a row for each of its rows.
   *   latents [B, C, h, w] as the denoiser sees them
   */
  residuals(latents: Tensor<"float32">, timestep: number, index: number, steps: number): Promise<Residuals>
  release(): void
}

/**
 * Loads the graphs of a model's ControlNets for a walk, until released. The denoiser is told `context`, in one row for
 * each latent, or with guidance in two.
 */
export async function openControls(
  { unetConfig, controlNets }: Model,
  { latents, conditioning, controls = [], guessMode = false }: ControlledWalk,
  context: Conditioning,
): Promise<OpenControls> {
  if (controls.length !== controlNets.length)
    throw new UsageError(
      `A walk needs a control for each ControlNet of its model; they number ${controls.length} and ${controlNets.length}.`,
    )
  const [batch, ...each] = latents.shape
  const rows = context.encoderHiddenStates.shape[0]
  const shapes = residualShapes(unetConfig, [rows, ...each])
  const none = namedResiduals(shapes.map((shape) => zeros("float32", shape)))
  // The first of several decides, as in diffusers.
  const guesses = guessMode || controlNets[0].config.globalPool
  const told = guesses ? conditioning : context
  const inputsOf = (n: number, seen: Tensor<"float32">, timestep: number) => {
    const { config } = controlNets[n]
    const { picture, scale } = controls[n]
    const sample = told === context && rows > batch ? joinRows([seen, seen]) : seen
    const levels = new Float32Array(sample.shape[0]).fill(timestep)
    const scales = residualScales(shapes.length, scale, guesses && !config.globalPool)
    const read = Object.fromEntries(controlNetReads(config).map((name) => [name, told[name]]))
    return { sample, timestep: float32([levels.length], levels), ...read, picture, scales }
  }

  const opened: OpenNetwork[] = []
  const release = () => {
    for (const one of opened) one.release()
  }
  try {
    for (const [n, { network }] of controlNets.entries())
      opened.push(await network.open(inputsOf(n, latents, 0)))
  } catch (error) {
    release()
    throw error
  }
  return {
    none,
    release,
    async residuals(seen, timestep, index, steps) {
      let sum: Residuals | undefined
      for (const [n, { start, end }] of controls.entries()) {
        if (!isWithin([start, end], index, steps)) continue
        const given = (await opened[n].run(inputsOf(n, seen, timestep))) as Residuals
        sum = sum === undefined ? given : mapResiduals(sum, (x, name) => plus(x, given[name]))
      }
      if (sum === undefined) return none
      return guesses && rows > batch ? mapResiduals(sum, behindZeros) : sum
    },
  }
}

function plus(a: Tensor<"float32">, b: Tensor<"float32">): Tensor<"float32"> {
  return float32(
    a.shape,
    a.data.map((v, i) => v + b.data[i]),
  )
}

/** As many rows of zeros before the rows. */
function behindZeros(x: Tensor<"float32">): Tensor<"float32"> {
  return joinRows([zeros("float32", x.shape), x])
}
