import { build, order, toOnnx } from "../graph/build.ts"
import { input } from "../graph/node.ts"
import { cutInTwo } from "../graph/passes/cut.ts"
import type { WeightUpdates } from "../graph/passes/low-rank.ts"
import { joinUpdates, updateWeights } from "../graph/passes/low-rank.ts"
import { toHalfPrecision } from "../graph/passes/precision.ts"
import type { Value, ValueType } from "../graph/value.ts"
import { formatType, isOp } from "../graph/value.ts"
import { LimnError } from "../ground/errors.ts"
import { sizeOf } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Device, Session, SessionOptions } from "../runtime/session.ts"
import { openSession } from "../runtime/session.ts"
import { openHalves } from "./halves.ts"

/** What a graph is fed, or the types of it. */
type Inputs<T> = Readonly<Record<string, T>>

/** A part of a model that can run. Graphs have fixed shapes, so there is one for each set of input types. */
export interface Network {
  /** The graph for inputs of these types, loaded unless it already is; it stays loaded until released. */
  open(inputs: Inputs<ValueType>): Promise<OpenNetwork>
  /** Opens the graph for these inputs, runs it once, and releases it. */
  run(inputs: Inputs<Tensor>, outputs?: readonly string[]): Promise<Record<string, Tensor>>
  /**
   * The same network with updates of its weights beside those that it has, and with `fixed` fed at every run in place of
   * what was fixed under those names. Without updates the two share their graphs.
   */
  with(updates: readonly DescribeUpdates[], fixed: Inputs<Tensor>): Network
  /** Whether a graph is loaded, so that its memory is taken already. */
  isLoaded(): boolean
  /** The same network with its outputs described anew by a pass, after all updates of its weights. */
  rewritten(pass: Pass): Network
  /** Gives all memory back, that of graphs in use as soon as they are released, of shared ones with their last network. */
  close(): Promise<void>
}

/** Updates of a network's weights from its inputs, described anew for each graph. */
export type DescribeUpdates = (inputs: Inputs<Value>) => WeightUpdates

/** What a graph's outputs are turned into before it is built. */
export type Pass = (outputs: Inputs<Value>) => Inputs<Value>

/** A loaded graph. */
export interface OpenNetwork {
  /** Names of the inputs that it reads; a part of a model may read less than the whole. */
  readonly reads: ReadonlySet<string>
  /** Runs the graph once; `outputs` names those wanted (all by default). */
  run(inputs: Inputs<Tensor>, outputs?: readonly string[]): Promise<Record<string, Tensor>>
  /** Lets the graph be unloaded when room is needed. A second call does nothing. */
  release(): void
}

/** How a network's graphs are described and loaded. */
export interface NetworkOptions extends SessionOptions {
  /** Where it runs; graphs are written for it. */
  readonly device: Device
  /** Whether that device's own kernel for attention is right, as `fusesAttention` finds (default: yes). */
  readonly fusedAttention?: boolean
  readonly precision: "fp32" | "fp16"
  /** Whether graphs out of use may stay loaded (default: yes, but in low memory). */
  readonly keepLoaded?: boolean
}

/** Graphs out of use stay loaded while their weights, in the form that they run in, take no more than this. */
const KEPT_BYTES = 2 ** 30

/**
 * Graphs with more weights than this are loaded as two, where a CPU rearranges them: SDXL's takes half a minute as one. A run
 * of two may take a little longer than of one, by less than the machine measured on was even, so smaller ones stay whole.
 */
const CUT_BYTES = 2 ** 32

interface Entry {
  readonly session: Promise<Session>
  /** Names of its inputs. */
  readonly reads: ReadonlySet<string>
  /** Of its weights. */
  readonly bytes: number
  users: number
}

/** The outputs of a network from its inputs. */
export type Describe = (inputs: Inputs<Value>) => Inputs<Value>

/** A network from the function that describes its outputs from its inputs. Nothing is loaded yet. */
export function network(describe: Describe, options: NetworkOptions): Network {
  return member(graphs({ describe, updates: [], passes: [] }, options), {})
}

/** Runs a network for each of some inputs in turn, then gives its memory back. */
export async function runAndClose(
  network: Network,
  all: readonly Inputs<Tensor>[],
): Promise<Record<string, Tensor>[]> {
  try {
    const outputs = []
    for (const inputs of all) outputs.push(await network.run(inputs))
    return outputs
  } finally {
    await network.close()
  }
}

/** One of the networks that share graphs, and what it feeds them at every run. */
function member(shared: Graphs, fixed: Inputs<Tensor>): Network {
  const leave = shared.join()
  let closed = false
  const checkOpen = () => {
    if (closed) throw new LimnError("The model is closed; load it again to use it.")
  }
  const open = async (inputs: Inputs<ValueType>): Promise<OpenNetwork> => {
    checkOpen()
    const { run, release, reads } = await shared.open({ ...inputs, ...fixed })
    // A stage of a model may have no layer that an update changes.
    const read = Object.fromEntries(Object.entries(fixed).filter(([name]) => reads.has(name)))
    return { reads, run: (given, outputs) => run({ ...given, ...read }, outputs), release }
  }
  return {
    open,
    async run(inputs, outputs) {
      const opened = await open(inputs)
      try {
        return await opened.run(inputs, outputs)
      } finally {
        opened.release()
      }
    },
    isLoaded: shared.isLoaded,
    with(updates, more) {
      checkOpen()
      return member(updates.length === 0 ? shared : shared.with({ updates }), { ...fixed, ...more })
    },
    rewritten(pass) {
      checkOpen()
      return member(shared.with({ passes: [pass] }), fixed)
    },
    async close() {
      if (closed) return
      closed = true
      await leave()
    },
  }
}

/** The loaded graphs of one description. */
interface Graphs extends Pick<Network, "isLoaded"> {
  open(inputs: Inputs<ValueType>): Promise<OpenNetwork>
  /** Counts a network that uses them, until it leaves; with the last one they are closed. */
  join(): () => Promise<void>
  /** Graphs of the same description with more changes. */
  with(more: Partial<Changes>): Graphs
}

/** What is changed of what a function describes: its weights, then its outputs as a whole. */
interface Changes {
  readonly updates: readonly DescribeUpdates[]
  readonly passes: readonly Pass[]
}

function graphs(
  { describe, updates, passes }: Changes & { readonly describe: Describe },
  { precision, keepLoaded, fusedAttention, ...options }: NetworkOptions,
): Graphs {
  const keeps = keepLoaded ?? !options.lowMemory
  /** The least recently used first. */
  const entries = new Map<string, Entry>()
  let networks = 0
  let closed = false

  const load = (types: Inputs<ValueType>): Entry => {
    const values = Object.entries(types).map(
      ([name, { dtype, shape }]) => [name, input(name, dtype, shape)] as const,
    )
    const inputs = Object.fromEntries(values)
    const updated = updateWeights(describe(inputs), joinUpdates(updates.map((one) => one(inputs))))
    const described = passes.reduce((outputs, pass) => pass(outputs), updated)
    const outputs = precision === "fp16" ? toHalfPrecision(described) : described
    const all = order(Object.values(outputs))
    const reads = new Set(all.flatMap((value) => (isOp(value, "input") ? [value.attributes.name] : [])))
    const bytes = runningBytes(all, precision)
    makeRoom(bytes)
    const written = (part: Inputs<Value>) => toOnnx(build(part), { device: options.device, fusedAttention })
    const rearranged = options.device === "cpu" && !options.lowMemory && options.lane === undefined
    const cut = rearranged && bytes > CUT_BYTES ? cutInTwo(outputs) : undefined
    const session = cut
      ? openHalves([written(cut.first), written(cut.second)], options)
      : openSession(written(outputs), options)
    return { session, reads, bytes, users: 0 }
  }

  const makeRoom = (wanted: number) => {
    let total = wanted
    for (const entry of entries.values()) total += entry.bytes
    for (const [key, entry] of entries) {
      if (total <= KEPT_BYTES) return
      if (entry.users > 0) continue
      entries.delete(key)
      total -= entry.bytes
      unload(entry)
    }
  }

  const open: Graphs["open"] = async (types) => {
    const key = Object.entries(types)
      .map(([name, type]) => `${name} ${formatType(type)}`)
      .join()
    const entry = entries.get(key) ?? load(types)
    entries.delete(key)
    entries.set(key, entry)
    entry.users++
    let released = false
    const release = () => {
      if (released) return
      released = true
      entry.users--
      if (entry.users > 0 || (!closed && keeps)) return
      if (entries.get(key) === entry) entries.delete(key)
      unload(entry)
    }
    try {
      const session = await entry.session
      return { run: session.run, release, reads: entry.reads }
    } catch (error) {
      if (entries.get(key) === entry) entries.delete(key)
      throw error
    }
  }

  return {
    open,
    isLoaded: () => entries.size > 0,
    join() {
      networks++
      return async () => {
        networks--
        if (networks > 0) return
        closed = true
        const idle = [...entries.values()].filter((entry) => entry.users === 0)
        entries.clear()
        await Promise.all(idle.map(unload))
      }
    },
    with: ({ updates: more = [], passes: further = [] }) =>
      graphs(
        { describe, updates: [...updates, ...more], passes: [...passes, ...further] },
        { precision, keepLoaded, fusedAttention, ...options },
      ),
  }
}

/** What the weights among these values take in the form that they run in. */
function runningBytes(values: readonly Value[], precision: NetworkOptions["precision"]): number {
  const widest = precision === "fp16" ? 2 : 4
  return values
    .filter((value) => isOp(value, "weight"))
    .reduce(
      (sum, { shape, dtype }) => sum + sizeOf(shape) * (dtype === "int8" || dtype === "uint8" ? 1 : widest),
      0,
    )
}

/** A session that could not be opened, or was lost with its thread, holds nothing that could be given back. */
async function unload({ session }: Entry): Promise<void> {
  await session.then(
    (opened) => opened.close(),
    () => {},
  )
}
