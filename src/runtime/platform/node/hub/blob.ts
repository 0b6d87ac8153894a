import type { Hash } from "node:crypto"
import { createHash } from "node:crypto"
import { constants } from "node:fs"
import type { FileHandle } from "node:fs/promises"
import { open, rename, rm } from "node:fs/promises"
import { FormatError } from "../../../../ground/errors.ts"
import type { HubFile } from "../../../hub/listing.ts"
import { PassingError, patiently } from "./patience.ts"
import type { HubAnswer, HubRequest } from "./request.ts"
import { request } from "./request.ts"

/** Where a file is fetched to, and who follows it. */
export interface BlobOrder {
  readonly file: HubFile
  readonly request: HubRequest
  /** Where it comes to lie once it is whole. */
  readonly path: string
  /** Called with the bytes that are there when the work begins, and with those that come; less than 0 to begin anew. */
  readonly onBytes: (bytes: number) => void
}

/** A file that is not whole, as far as it is on the disk, and the hash of that much. */
interface Unfinished {
  readonly handle: FileHandle
  at: number
  hash: Hash
}

const TRIES = 5
const READ_BYTES = 2 ** 20

/**
 * Where the bytes of a file that is not whole are kept. Not `.incomplete` alone, which older releases of
 * huggingface_hub append to under a lock that limn cannot take.
 */
export function incompletePath(path: string): string {
  return `${path}.limn.incomplete`
}

/**
 * Fetches a file, or the rest of it where an earlier run was cut, and gives it its name when size and checksum are
 * right. Bytes are written where they belong, never appended, so that two writers of one file do no harm.
 * Throws a FormatError where the server has other bytes than the list says, and keeps none of them then.
 */
export async function fetchBlob(order: BlobOrder): Promise<void> {
  const incomplete = incompletePath(order.path)
  const handle = await open(incomplete, constants.O_RDWR | constants.O_CREAT)
  try {
    await fetchInto(handle, order)
    await handle.sync()
  } catch (error) {
    if (error instanceof FormatError) await rm(incomplete, { force: true })
    throw error
  } finally {
    await handle.close()
  }
  await rename(incomplete, order.path)
}

async function fetchInto(handle: FileHandle, order: BlobOrder): Promise<void> {
  const { file, request: asked } = order
  const unfinished: Unfinished = { handle, at: 0, hash: hashOf(file) }
  await takeUp(unfinished, order)
  const resumed = unfinished.at > 0
  await fetchRest(unfinished, order)
  if (resumed && !isRight(unfinished, file)) {
    // Perhaps only what the earlier run left is wrong.
    startAnew(unfinished, order)
    await fetchRest(unfinished, order)
  }
  if (!isRight(unfinished, file))
    throw new FormatError(
      `${file.path} of ${asked.repo} came with other bytes than its checksum says; try again.`,
    )
  await handle.truncate(file.size)
}

/** Reads what is on the disk already, for its hash. */
async function takeUp(
  unfinished: Unfinished,
  { file, request: { signal }, onBytes }: BlobOrder,
): Promise<void> {
  const { size } = await unfinished.handle.stat()
  if (size > file.size) return
  const buffer = new Uint8Array(Math.min(size, READ_BYTES))
  while (unfinished.at < size) {
    signal?.throwIfAborted()
    const { bytesRead } = await unfinished.handle.read(buffer, 0, buffer.length, unfinished.at)
    if (bytesRead === 0) break
    unfinished.hash.update(buffer.subarray(0, bytesRead))
    unfinished.at += bytesRead
  }
  onBytes(unfinished.at)
}

function startAnew(unfinished: Unfinished, { file, onBytes }: BlobOrder): void {
  onBytes(-unfinished.at)
  unfinished.at = 0
  unfinished.hash = hashOf(file)
}

async function fetchRest(unfinished: Unfinished, order: BlobOrder): Promise<void> {
  const { file, request: asked } = order
  let before = unfinished.at
  await patiently(
    async () => {
      before = unfinished.at
      if (unfinished.at === file.size) return
      await request({ ...asked, from: unfinished.at }, (answer) => receive(unfinished, answer, order))
      if (unfinished.at < file.size)
        throw new PassingError(
          `The connection ended after ${unfinished.at} of the ${file.size} bytes of ${file.path}; try again.`,
        )
    },
    { tries: TRIES, signal: asked.signal, progressed: () => unfinished.at > before },
  )
}

async function receive(unfinished: Unfinished, answer: HubAnswer, order: BlobOrder): Promise<void> {
  const { file, onBytes } = order
  // A server may ignore the range that was asked for, and send the whole file.
  if (answer.status !== 206 && unfinished.at > 0) startAnew(unfinished, order)
  checkSize(answer, unfinished.at, order)
  for await (const chunk of answer.chunks) {
    if (unfinished.at + chunk.length > file.size) throw wrongSize(order, `more than ${file.size}`)
    await writeAt(unfinished.handle, chunk, unfinished.at)
    unfinished.hash.update(chunk)
    unfinished.at += chunk.length
    onBytes(chunk.length)
  }
}

/** Throws where the answer's head promises another part of the file than is wanted, or a file of another size. */
function checkSize({ status, headers }: HubAnswer, at: number, order: BlobOrder): void {
  const { size } = order.file
  const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(headers.get("content-range") ?? "")
  const length = headers.get("content-length")
  if (status === 200 && length !== null && Number(length) !== size) throw wrongSize(order, length)
  if (range?.[2] !== undefined && range[2] !== "*" && Number(range[2]) !== size)
    throw wrongSize(order, range[2])
  if (status === 416 || (status === 206 && Number(range?.[1]) !== at))
    throw new PassingError(`The server gave another part of ${order.file.path} than was asked; try again.`)
}

function wrongSize({ file, request: { repo } }: BlobOrder, bytes: string): FormatError {
  return new FormatError(
    `The Hub lists ${file.path} of ${repo} with ${file.size} bytes, and sends ${bytes}; do not use this model.`,
  )
}

async function writeAt(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten
}

/** sha256 for large file storage; else git's sha1, which begins with a header. */
function hashOf({ sha256, size }: HubFile): Hash {
  return sha256 === undefined ? createHash("sha1").update(`blob ${size}\0`) : createHash("sha256")
}

function isRight({ hash }: Unfinished, { sha256, blobId }: HubFile): boolean {
  return hash.copy().digest("hex") === (sha256 ?? blobId)
}
