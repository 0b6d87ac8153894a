import type { InferenceSession } from "onnxruntime-node"
import { LimnError } from "../../ground/errors.ts"
import type { Tensor } from "../../ground/tensor.ts"
import { sentenceOfOrt } from "./ort-errors.ts"
import type { Question, Reply, Request } from "./ort-messages.ts"
import type { Engine } from "./platform.ts"

/** The way to the thread that holds ONNX Runtime. */
export interface Port {
  post(request: Request, transfer: ArrayBuffer[]): void
  /** Told true when an answer is first waited for, false when none is any more. */
  waiting(some: boolean): void
}

/** The caller's side of that thread. */
export interface OrtClient {
  open(graph: string, model: Uint8Array, options: InferenceSession.SessionOptions): Promise<Engine>
  /** Takes an answer of the thread. */
  receive(reply: Reply): void
  /** The thread is gone: everything asked of it, and all that will be, fails for this reason. */
  lose(why: string): void
}

interface Asked {
  resolve(outputs: Record<string, Tensor>): void
  reject(error: Error): void
}

/**
 * The caller's side over a port, whose thread runs `ortHost`. Errors of ONNX Runtime become LimnErrors in one sentence.
 */
export function ortClient(port: Port): OrtClient {
  const asked = new Map<number, Asked>()
  let sessions = 0
  let requests = 0
  let lost: string | undefined

  function ask(question: Question, transfer: ArrayBuffer[] = []): Promise<Record<string, Tensor>> {
    return new Promise((resolve, reject) => {
      if (lost !== undefined) throw new LimnError(lost)
      const id = ++requests
      port.post({ id, question }, transfer)
      if (asked.size === 0) port.waiting(true)
      asked.set(id, { resolve, reject })
    })
  }

  return {
    async open(graph, model, options) {
      const session = ++sessions
      const inWords = (error: Error) => {
        throw error instanceof LimnError ? error : new LimnError(sentenceOfOrt(error.message, graph))
      }
      await ask({ kind: "open", session, model, options }, [model.buffer as ArrayBuffer]).catch(inWords)
      return {
        run(feeds, outputs) {
          const sent: Record<string, Tensor> = {}
          const transfer: ArrayBuffer[] = []
          for (const [name, feed] of Object.entries(feeds)) {
            sent[name] = separate(feed)
            if (sent[name].data.buffer instanceof ArrayBuffer) transfer.push(sent[name].data.buffer)
          }
          return ask({ kind: "run", session, feeds: sent, outputs }, transfer).catch(inWords)
        },
        async close() {
          await ask({ kind: "close", session }).catch(inWords)
        },
      }
    },
    receive(reply) {
      const waiter = asked.get(reply.id)
      asked.delete(reply.id)
      if (asked.size === 0) port.waiting(false)
      if ("outputs" in reply) waiter?.resolve(reply.outputs)
      else waiter?.reject(new Error(reply.error))
    },
    lose(why) {
      lost ??= why
      for (const { reject } of asked.values()) reject(new LimnError(lost))
      asked.clear()
    },
  }
}

/** A feed that may leave this thread: a copy of its own numbers, or the shared memory that it lies in. */
function separate(feed: Tensor): Tensor {
  return feed.data.buffer instanceof ArrayBuffer ? { ...feed, data: feed.data.slice() } : feed
}
