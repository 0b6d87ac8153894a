/** What the browser's build writes before every message. */
const CODE = /^.*? ERROR_CODE: \d+, ERROR_MESSAGE: /s
/** Path and line in ONNX Runtime's source. */
const SOURCE = /^.*?(?:\/onnxruntime_src\/)?[\w/.]+\.(?:h|hpp|cc|cpp|cu):\d+ /s
/** What its checks write after that: `type Class::function(arguments) condition was false.` */
const ENFORCED = /^.*? was false\. ?/s
/** Or, where a message stands alone: `type Class::function(arguments)`, or only `Function`. */
const SIGNATURE = /^(?:[^()]*\([^()]*\)(?: const)?(?: \[with [^\]]*\])? |[A-Z]\w+ )/

/**
 * What ONNX Runtime said, in one sentence: without its own source paths and signatures, with the node's name kept.
 * `graph` is the graph's name.
 */
export function sentenceOfOrt(message: string, graph: string): string {
  const failed = /returned while running (\w+) node\. Name:'([^']*)' Status Message: (.*)/s.exec(message)
  if (failed !== null) return `Node ${failed[2]} (${failed[1]}) of ${graph} failed: ${reason(failed[3])}`
  const refused =
    /In Node, \("([^"]*)", (\w+), .*?, Error (.*)/s.exec(message) ??
    /Node \(([^()]*)\) Op \((\w+)\) (?:\[\w+\] )?(.*)/s.exec(message)
  if (refused !== null)
    return `Node ${refused[1]} (${refused[2]}) of ${graph} is refused: ${reason(refused[3])}`
  return `ONNX Runtime refuses ${graph}: ${reason(message)}`
}

function reason(text: string): string {
  const memory = /allocate memory for requested buffer of size (\d+)/.exec(text)
  if (memory !== null) {
    const gib = (Number(memory[1]) / 2 ** 30).toFixed(1)
    return `there is no memory for another ${gib} GiB: ask for a smaller picture or batch, or lowMemory.`
  }
  const plain = text.replace(CODE, "")
  const told = plain.replace(SOURCE, "")
  const bare = told === plain ? plain : told.replace(ENFORCED.test(told) ? ENFORCED : SIGNATURE, "")
  const line = bare.replace(/\s+/g, " ").trim()
  return /[.!?]$/.test(line) ? line : `${line}.`
}
