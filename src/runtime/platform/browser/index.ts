export { likelyAccelerators, openEngine } from "./engine.ts"
export { cpuCount, exists, list, openByteSource, peakMemoryBytes, readBytes, readText } from "./machine.ts"
