// Runs the TypeScript module named by the first argument in a thread: Node 20 reads none there by itself.
// Only for running limn from its source (tests, examples); the published package holds JavaScript and no such file.
import { register } from "tsx/esm/api"

register()
await import(process.argv[2])
