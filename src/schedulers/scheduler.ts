import { UsageError } from "../ground/errors.ts"
import { givenKeys } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { ddim } from "./ddim.ts"
import { ddpm } from "./ddpm.ts"
import { dpmSolverMultistep } from "./dpmsolver-multistep.ts"
import { edmDpmSolverMultistep } from "./edm-dpmsolver-multistep.ts"
import { edmEuler } from "./edm-euler.ts"
import { euler } from "./euler.ts"
import { eulerAncestral } from "./euler-ancestral.ts"
import { flowMatchEuler } from "./flow-match-euler.ts"
import { heun } from "./heun.ts"
import { lcm } from "./lcm.ts"
import { lms } from "./lms.ts"
import { pndm } from "./pndm.ts"
import { tcd } from "./tcd.ts"
import { uniPcMultistep } from "./unipc-multistep.ts"

export type { CustomWalk, Scheduler, StepOptions, StepResult } from "./contract.ts"

const makers = {
  DDIMScheduler: ddim,
  DDPMScheduler: ddpm,
  PNDMScheduler: pndm,
  EulerDiscreteScheduler: euler,
  EulerAncestralDiscreteScheduler: eulerAncestral,
  HeunDiscreteScheduler: heun,
  LMSDiscreteScheduler: lms,
  DPMSolverMultistepScheduler: dpmSolverMultistep,
  UniPCMultistepScheduler: uniPcMultistep,
  LCMScheduler: lcm,
  TCDScheduler: tcd,
  EDMEulerScheduler: edmEuler,
  EDMDPMSolverMultistepScheduler: edmDpmSolverMultistep,
  FlowMatchEulerDiscreteScheduler: flowMatchEuler,
}

type ClassName = keyof typeof makers

/** What a name asks for: a class, and what it settles over the configuration. */
interface Choice {
  readonly className: ClassName
  readonly keys?: Readonly<Record<string, unknown>>
}

/** limn's own names: the class, with whatever the checkpoint configures. */
const shortNames = {
  ddim: { className: "DDIMScheduler" },
  ddpm: { className: "DDPMScheduler" },
  pndm: { className: "PNDMScheduler" },
  euler: { className: "EulerDiscreteScheduler" },
  "euler-ancestral": { className: "EulerAncestralDiscreteScheduler" },
  heun: { className: "HeunDiscreteScheduler" },
  lms: { className: "LMSDiscreteScheduler" },
  "dpmsolver-multistep": { className: "DPMSolverMultistepScheduler" },
  unipc: { className: "UniPCMultistepScheduler" },
  lcm: { className: "LCMScheduler" },
  tcd: { className: "TCDScheduler" },
  "edm-euler": { className: "EDMEulerScheduler" },
  "edm-dpmsolver-multistep": { className: "EDMDPMSolverMultistepScheduler" },
  "flow-match-euler": { className: "FlowMatchEulerDiscreteScheduler" },
} as const satisfies Readonly<Record<string, Choice>>

/** Web tools put the spacing of sigmas behind the name: "DPM++ 2M Karras". */
const spacings = {
  Karras: "use_karras_sigmas",
  Exponential: "use_exponential_sigmas",
  Beta: "use_beta_sigmas",
}

/** Names that web tools use; they settle the solver too. */
const webNames: Readonly<Record<string, Choice>> = {
  "Euler a": { className: "EulerAncestralDiscreteScheduler" },
  PLMS: { className: "PNDMScheduler", keys: { skip_prk_steps: true } },
  "DPM++ 2M": dpmSolver("dpmsolver++", 2, "midpoint"),
  "DPM++ 2M SDE": dpmSolver("sde-dpmsolver++", 2, "midpoint"),
  "DPM++ 2M SDE Heun": dpmSolver("sde-dpmsolver++", 2, "heun"),
  "DPM++ 3M SDE": dpmSolver("sde-dpmsolver++", 3, "midpoint"),
  "DPM++ 2M EDM": {
    className: "EDMDPMSolverMultistepScheduler",
    keys: { algorithm_type: "dpmsolver++", solver_order: 2, solver_type: "midpoint" },
  },
  "Euler EDM": shortNames["edm-euler"],
}

/** Web tools' names that are limn's but for capitals. */
const capitals: Readonly<Record<string, Choice>> = {
  DDIM: shortNames.ddim,
  DDPM: shortNames.ddpm,
  Euler: shortNames.euler,
  Heun: shortNames.heun,
  LMS: shortNames.lms,
  UniPC: shortNames.unipc,
  LCM: shortNames.lcm,
  TCD: shortNames.tcd,
}

const spacedNames = Object.entries({ ...capitals, ...webNames })
  .filter(([, { className }]) => /^(EulerDiscrete|Heun|LMS|DPMSolver|UniPC)/.test(className))
  .flatMap(([name, choice]) =>
    Object.keys(spacings).map((spacing) => [`${name} ${spacing}`, spaced(choice, spacing)] as const),
  )

const choices = new Map<string, Choice>([
  ...Object.entries<Choice>(shortNames),
  ...Object.entries(webNames),
  ...spacedNames,
])

/** Every name that `schedulerFromConfig` takes, besides diffusers' class names. Case does not matter. */
export const schedulerNames: readonly string[] = [...choices.keys()]

/** The same for a sentence. */
const known = [
  ...Object.keys({ ...shortNames, ...webNames }),
  `or one with ${Object.keys(spacings).join(", ")} behind it, such as LMS Karras`,
].join(", ")

const byAnyName = new Map<string, Choice>([
  ...Object.keys(makers).map((name) => [name.toLowerCase(), { className: name as ClassName }] as const),
  ...Array.from(choices, ([name, choice]) => [name.toLowerCase(), choice] as const),
])

/** How a scheduler is chosen by its name. */
export interface ChoosingOptions {
  /** Classes that the model is walked by although they walk other noise levels than it was trained on. */
  readonly alsoWalks?: readonly string[]
}

/**
 * A scheduler from a checkpoint's scheduler_config.json, as diffusers' `from_config`: unknown keys are ignored,
 * missing ones take the class's defaults. `name` chooses another algorithm than the file's `_class_name`: a
 * diffusers class, one of limn's short names, or a web tool's name such as "DPM++ 2M Karras".
 * Throws a UsageError for an unknown name and for a class that walks other noise levels than the model knows, a
 * FormatError where the configuration is not one.
 */
export function schedulerFromConfig(
  json: unknown,
  name?: string,
  { alsoWalks = [] }: ChoosingOptions = {},
): Scheduler {
  const given = givenKeys(json)
  const wanted = name ?? given._class_name
  const choice = typeof wanted === "string" ? byAnyName.get(wanted.toLowerCase()) : undefined
  if (choice === undefined)
    throw new UsageError(
      wanted === undefined
        ? `The scheduler configuration names no class; choose a scheduler: ${known}.`
        : `limn has no scheduler ${JSON.stringify(wanted)}; choose one of ${known}.`,
    )
  if (!alsoWalks.includes(choice.className)) checkNoise(given._class_name, choice.className)
  return makers[choice.className]({ ...given, ...choice.keys })
}

/**
 * What noise a class walks down; a model knows the one that it was trained on. diffusers moves any configuration to
 * any class, and draws noise where they differ.
 */
function noiseOf(className: string): string {
  if (className.startsWith("FlowMatch")) return "rectified flow"
  return className.startsWith("EDM") ? "EDM's noise levels" : "a schedule of betas"
}

/** Throws a UsageError where a configuration of one class cannot move to another. */
function checkNoise(from: unknown, to: ClassName): void {
  if (typeof from !== "string" || !Object.hasOwn(makers, from) || noiseOf(from) === noiseOf(to)) return
  throw new UsageError(
    `${to} walks ${noiseOf(to)}, but this model was trained on ${noiseOf(from)} (${from}); choose another scheduler.`,
  )
}

/**
 * What web tools call the scheduler of a configuration with its defaults written out ("DPM++ 2M Karras"), or its
 * class where they have no name for it.
 */
export function schedulerTitle(config: Readonly<Record<string, unknown>>): string {
  const fits = ([, { className, keys = {} }]: readonly [string, Choice]) =>
    className === config._class_name && Object.entries(keys).every(([key, value]) => config[key] === value)
  // Those that settle more come first: "Euler Karras" is an Euler too.
  const [found] = titles.find(fits) ?? [String(config._class_name).replace(/Scheduler$/, "")]
  return found
}

const titles: readonly (readonly [string, Choice])[] = [
  ...spacedNames,
  ...Object.entries(webNames),
  ...Object.entries(capitals),
]

function dpmSolver(algorithm_type: string, solver_order: number, solver_type: string): Choice {
  const spacing = { ...unspaced(), use_lu_lambdas: false }
  return {
    className: "DPMSolverMultistepScheduler",
    keys: { algorithm_type, solver_order, solver_type, ...spacing },
  }
}

function spaced(choice: Choice, spacing: string): Choice {
  const key = spacings[spacing as keyof typeof spacings]
  return { ...choice, keys: { ...choice.keys, ...unspaced(), [key]: true } }
}

function unspaced(): Record<string, boolean> {
  return Object.fromEntries(Object.values(spacings).map((key) => [key, false]))
}
