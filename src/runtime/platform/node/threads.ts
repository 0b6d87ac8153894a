import { Worker } from "node:worker_threads"

/** Starts the module `name` of this folder in a thread of its own. */
export function startWorker(name: string, workerData: unknown): Worker {
  if (!import.meta.url.endsWith(".ts"))
    return new Worker(new URL(`./${name}.js`, import.meta.url), { workerData })
  const module = new URL(`./${name}.ts`, import.meta.url).href
  return new Worker(new URL("./from-source.js", import.meta.url), { argv: [module], workerData })
}
