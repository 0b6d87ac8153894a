import type { OnnxModel } from "../formats/onnx.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Session, SessionOptions } from "../runtime/session.ts"
import { openSession } from "../runtime/session.ts"

/** The halves of a graph that was cut, as `cutInTwo` gives them. */
export type Halves = readonly [first: OnnxModel, second: OnnxModel]

/**
 * Loads both halves at the same time, each on a thread of its own, since ONNX Runtime rearranges weights on one; then they are
 * one session. Throws as `openSession` does.
 */
export async function openHalves(halves: Halves, options: SessionOptions): Promise<Session> {
  const opening = halves.map((half, lane) => openSession(half, { ...options, lane }))
  const closing = () => opening.map((session) => session.then((opened) => opened.close()))
  const [first, second] = await Promise.all(opening).catch(async (error) => {
    // The half that could be opened must not stay.
    await Promise.allSettled(closing())
    throw error
  })
  const reads = halves.map(({ inputs }) => new Set(inputs.map(({ name }) => name)))
  return {
    device: first.device,
    async run(feeds, outputs) {
      // What neither reads is the first's to complain of.
      const crossing = await first.run(only(feeds, (name) => reads[0].has(name) || !reads[1].has(name)))
      return second.run({ ...only(feeds, (name) => reads[1].has(name)), ...crossing }, outputs)
    },
    async close() {
      await Promise.all(closing())
    },
  }
}

type Feeds = Readonly<Record<string, Tensor>>

function only(feeds: Feeds, wanted: (name: string) => boolean): Feeds {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => wanted(name)))
}
