import type * as Ort from "onnxruntime-node"
import type { DType } from "../../ground/dtype.ts"
import { arrayOf } from "../../ground/dtype.ts"
import { messageOf } from "../../ground/errors.ts"
import type { Tensor } from "../../ground/tensor.ts"
import { rawBytes } from "../../ground/tensor.ts"
import type { Question, Reply, Request } from "./ort-messages.ts"

/** The part of ONNX Runtime's packages that is the same for Node and browsers. */
export type OrtPackage = Pick<typeof Ort, "InferenceSession" | "Tensor">

/** What a thread that holds ONNX Runtime knows about itself. */
export interface HostSettings {
  /** ONNX Runtime, in the build that a session needs. */
  load(options: Ort.InferenceSession.SessionOptions): Promise<OrtPackage>
  reply(reply: Reply, transfer: ArrayBuffer[]): void
  /** Surrounds all native work, and may refuse it. */
  guard?(work: () => Promise<void>): Promise<void>
}

interface HeldSession {
  readonly ort: OrtPackage
  readonly session: Ort.InferenceSession
  readonly profiled: boolean
  /** Memory that feeds shared with another thread are copied into, by input name. */
  readonly scratch: Map<string, Tensor["data"]>
}

/**
 * The side of ONNX Runtime in the thread that it blocks: holds every session and does one thing at a time, in the
 * order asked, since a run uses all cores by itself and runs on one GPU must not overlap. Returns what takes requests.
 */
export function ortHost(settings: HostSettings): (request: Request) => void {
  const { reply, guard = (work) => work() } = settings
  const sessions = new Map<number, HeldSession>()
  let last: Promise<void> = Promise.resolve()

  async function answer({ id, question }: Request): Promise<void> {
    try {
      const outputs = await perform(question)
      const buffers = new Set(Object.values(outputs).map(({ data }) => data.buffer as ArrayBuffer))
      reply({ id, outputs }, [...buffers])
    } catch (error) {
      reply({ id, error: messageOf(error) }, [])
    }
  }

  async function perform(question: Question): Promise<Record<string, Tensor>> {
    if (question.kind === "open") {
      const { options } = question
      const ort = await settings.load(options)
      const session = await ort.InferenceSession.create(question.model, options)
      const profiled = options.enableProfiling === true
      sessions.set(question.session, { ort, session, profiled, scratch: new Map() })
      return {}
    }
    const held = sessions.get(question.session)
    if (held === undefined) throw new Error("The session is closed.")
    if (question.kind === "run") return run(held, question.feeds, question.outputs)
    sessions.delete(question.session)
    if (held.profiled) held.session.endProfiling()
    await held.session.release()
    return {}
  }

  return (request) => {
    last = last.then(() => guard(() => answer(request)))
  }
}

async function run(
  held: HeldSession,
  feeds: Readonly<Record<string, Tensor>>,
  outputs: readonly string[],
): Promise<Record<string, Tensor>> {
  const inputs: Record<string, Ort.Tensor> = {}
  for (const [name, feed] of Object.entries(feeds))
    inputs[name] = new held.ort.Tensor(feed.dtype as Ort.Tensor.Type, unshared(held, name, feed), feed.shape)
  const fetched = await held.session.run(inputs, outputs)
  const results: Record<string, Tensor> = {}
  for (const name of outputs) {
    const { type, dims, data } = fetched[name]
    const dtype = type as DType
    const { buffer, byteOffset } = data as Tensor["data"]
    // Viewed anew because newer engines give float16 as Float16Array.
    results[name] = { dtype, shape: dims, data: new arrayOf[dtype](buffer, byteOffset, data.length) }
  }
  return results
}

/** The feed's numbers outside shared memory, which Node 20 does not let native code read. */
function unshared({ scratch }: HeldSession, name: string, { dtype, data }: Tensor): Tensor["data"] {
  if (data.buffer instanceof ArrayBuffer) return data
  let copy = scratch.get(name)
  if (copy?.length !== data.length) scratch.set(name, (copy = new arrayOf[dtype](data.length)))
  rawBytes(copy).set(rawBytes(data))
  return copy
}
