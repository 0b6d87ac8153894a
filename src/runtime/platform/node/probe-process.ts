import type { Device } from "../platform.ts"
import { productMs } from "../probe.ts"
import { openEngine } from "./engine.ts"

/** A process of its own that prints `productMs` of the device and the size in its arguments. */

const [device, size] = process.argv.slice(2)
console.log(await productMs(openEngine, device as Device, Number(size)))
