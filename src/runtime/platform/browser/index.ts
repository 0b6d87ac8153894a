export { likelyAccelerators, openEngine, timeDevice, wakeEngine } from "./engine.ts"
export { cachedRepo, fetchSnapshot } from "./hub.ts"
export {
  availableMemoryBytes,
  cacheFolder,
  cpuCount,
  exists,
  isWritableFolder,
  list,
  makeFolder,
  openByteSource,
  peakMemoryBytes,
  readBytes,
  readText,
  writeFileAtomic,
  writeFileInParts,
} from "./machine.ts"
export { absolutePath } from "./paths.ts"
export { decodePicture } from "./pictures.ts"
export { drawText } from "./text.ts"
