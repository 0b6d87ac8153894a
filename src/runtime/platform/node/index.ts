export { openEngine } from "./engine.ts"
export { openByteSource, writeFileAtomic } from "./files.ts"
export { absolutePath, namesIn } from "./folders.ts"
