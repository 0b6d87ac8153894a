export { likelyAccelerators, openEngine, wakeEngine } from "./engine.ts"
export { openByteSource, writeFileAtomic, writeFileInParts } from "./files.ts"
export { cachedRepo } from "./hub/cached-repo.ts"
export { fetchSnapshot } from "./hub/snapshot.ts"
export {
  availableMemoryBytes,
  cacheFolder,
  cpuCount,
  exists,
  isWritableFolder,
  list,
  makeFolder,
  peakMemoryBytes,
  readBytes,
  readText,
} from "./machine.ts"
export { absolutePath } from "./paths.ts"
export { decodePicture } from "./pictures.ts"
export { timeDevice } from "./probe.ts"
export { drawText } from "./text.ts"
