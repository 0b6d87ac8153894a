export { likelyAccelerators, openEngine } from "./engine.ts"
export { openByteSource, writeFileAtomic } from "./files.ts"
export { cpuCount, exists, list, makeFolder, peakMemoryBytes, readBytes, readText } from "./machine.ts"
export { absolutePath } from "./paths.ts"
