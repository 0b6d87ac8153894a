import { randomUUID } from "node:crypto"
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs"
import type { FileHandle } from "node:fs/promises"
import { open, rename, rm, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import type { ByteSource } from "../../../formats/byte-source.ts"
import { FormatError, LimnError, messageOf } from "../../../ground/errors.ts"
import type { FilePart } from "../platform.ts"

/** A file that can be read anywhere until it is closed. */
export interface FileSource extends ByteSource {
  close(): void
}

/** The system takes less than 2 GiB in one call. */
const MAX_CALL_BYTES = 2 ** 30

/**
 * Opens a file for reading at any offset. Throws a LimnError where there is no such file; `read` throws a FormatError
 * beyond the file's end, also where the file has shrunk since.
 */
export function openByteSource(path: string): FileSource {
  let descriptor: number
  try {
    descriptor = openSync(path, "r")
  } catch (error) {
    throw new LimnError(`Cannot open ${path}: ${messageOf(error)}.`, { cause: error })
  }
  const stats = fstatSync(descriptor)
  if (!stats.isFile()) {
    closeSync(descriptor)
    throw new LimnError(`Cannot open ${path}: it is not a file.`)
  }
  return {
    name: path,
    size: stats.size,
    read(offset, length) {
      // Checked first, so that a false length costs no memory.
      if (offset < 0 || length < 0 || offset + length > stats.size) throw cutShort(path, offset, length)
      const out = new Uint8Array(length)
      for (let done = 0; done < length; ) {
        const count = readSync(descriptor, out, done, Math.min(length - done, MAX_CALL_BYTES), offset + done)
        if (count === 0) throw cutShort(path, offset, length)
        done += count
      }
      return out
    },
    close: () => closeSync(descriptor),
  }
}

function cutShort(path: string, offset: number, length: number): FormatError {
  return new FormatError(
    `${path} ends before byte ${offset + length}, and ${length} bytes were wanted from byte ${offset} on: it is cut short, so fetch it again.`,
  )
}

/**
 * Writes a file whole or not at all: beside its place under another name, then renamed once the bytes are on the disk.
 * Where anything fails, `chunks` itself included, what was written is removed, the file that was there before stays,
 * and a LimnError is thrown: the one that `chunks` threw, or one that names the path.
 */
export async function writeFileAtomic(
  path: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${randomUUID()}.part`)
  try {
    const file = await open(beside, "wx")
    try {
      for await (const chunk of chunks) await writeAll(file, chunk)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
  } catch (error) {
    await rm(beside, { force: true })
    if (error instanceof LimnError) throw error
    throw new LimnError(`Cannot write ${path}: ${messageOf(error)}.`, { cause: error })
  }
}

/**
 * Writes a file of a head and parts, whole or not at all, and goes on where an earlier call with the same head was cut, by
 * whatever: until it is whole it lies beside its place, as `.name.part`. Each part is on the disk before the next begins.
 * Calls at the same time write the same bytes to the same places. Throws what a part's maker throws, and a LimnError that
 * names the path where the disk refuses.
 */
export async function writeFileInParts(
  path: string,
  head: Uint8Array,
  parts: readonly FilePart[],
): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.part`)
  const refused = (error: unknown) => {
    throw error instanceof LimnError
      ? error
      : new LimnError(`Cannot write ${path}: ${messageOf(error)}.`, { cause: error })
  }
  const file = await open(beside, constants.O_RDWR | constants.O_CREAT).catch(refused)
  try {
    let { done, at } = await partsIn(file, head, parts)
    if (at === 0) {
      await file.truncate(0).catch(refused)
      await writeAt(file, head, 0).catch(refused)
      at = head.length
    }
    for (; done < parts.length; done++) {
      const end = at + parts[done].bytes
      for await (const chunk of parts[done].make()) {
        await writeAt(file, chunk, at).catch(refused)
        at += chunk.length
      }
      if (at !== end)
        throw new LimnError(`A part of ${path} came out ${at - end} bytes longer than it should be.`)
      await file.datasync().catch(refused)
    }
    await file.truncate(at).catch(refused)
    await file.sync().catch(refused)
  } finally {
    await file.close()
  }
  await rename(beside, path).catch(async (error) => {
    // Another call has finished first.
    if ((await stat(path).catch(() => undefined)) === undefined) refused(error)
  })
}

/**
 * How many parts a file that was cut holds, but for the last, which may not have reached the disk; and where they end: at 0
 * where it begins otherwise.
 */
async function partsIn(file: FileHandle, head: Uint8Array, parts: readonly FilePart[]) {
  const { size } = await file.stat()
  const begin = Buffer.alloc(head.length)
  if (size < head.length || (await file.read(begin, 0, head.length, 0)).bytesRead < head.length)
    return { done: 0, at: 0 }
  if (!begin.equals(head)) return { done: 0, at: 0 }
  let done = 0
  let at = head.length
  while (done + 1 < parts.length && at + parts[done].bytes + parts[done + 1].bytes <= size)
    at += parts[done++].bytes
  return { done, at }
}

async function writeAt(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(bytes.length - done, MAX_CALL_BYTES)
    done += (await file.write(bytes, done, length, at + done)).bytesWritten
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const part = bytes.subarray(done, done + MAX_CALL_BYTES)
    done += (await file.write(part)).bytesWritten
  }
}
