import { likelyAccelerators, openEngine, timeDevice } from "#platform"
import { LimnError } from "../ground/errors.ts"
import type { Device } from "./platform/platform.ts"
import { productMs } from "./platform/probe.ts"

/** A GPU multiplies matrices of 512 x 512 in a millisecond or two; a driver that imitates one, in hundreds. */
const PROBE_SIZE = 512
const GPU_MS = 20

/**
 * The device to run on. "auto" is the first accelerator that answers as fast as a GPU should, else the CPU: servers
 * often have drivers that only imitate a GPU. A machine whose device files show none pays nothing for the question;
 * elsewhere it is asked once a process, and costs half a second or more. A device asked for by name need only work.
 * Throws a LimnError that names the devices that do, where it does not.
 */
export async function chooseDevice(wanted: Device | "auto"): Promise<Device> {
  if (wanted === "auto") return (automatic ??= findAccelerator())
  if (await works(wanted)) return wanted
  const usable: Device[] = []
  for (const device of likelyAccelerators()) if (await works(device)) usable.push(device)
  const remedy =
    wanted === "cuda"
      ? "install onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12 set, or choose"
      : "choose"
  throw new LimnError(
    `The device ${wanted} does not work on this machine: ${remedy} one of those that do (${[...usable, "cpu"].join(", ")}).`,
  )
}

let automatic: Promise<Device> | undefined
const working = new Map<Device, Promise<boolean>>()

async function findAccelerator(): Promise<Device> {
  for (const device of likelyAccelerators()) {
    const ms = await timeDevice(device, PROBE_SIZE)
    if (ms !== undefined && ms < GPU_MS) return device
  }
  return "cpu"
}

function works(device: Device): Promise<boolean> {
  const known = device === "cpu" ? Promise.resolve(true) : working.get(device)
  if (known !== undefined) return known
  const answer = productMs(openEngine, device, 8).then(
    () => true,
    () => false,
  )
  working.set(device, answer)
  return answer
}
