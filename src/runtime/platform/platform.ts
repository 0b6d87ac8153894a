import type { ByteSource } from "../../formats/byte-source.ts"
import type { OnnxModel } from "../../formats/onnx.ts"
import type { Device } from "../../graph/emitter.ts"
import type { Ink, Pixels } from "../../ground/image.ts"
import type { Tensor } from "../../ground/tensor.ts"
import type { CachedRepo, SnapshotOrder } from "../hub/snapshot.ts"

export type { Device } from "../../graph/emitter.ts"

/** How a graph is opened, once its device is chosen. */
export interface EngineOptions {
  readonly device: Device
  /** Threads that one run may use (default: one for each physical core). */
  readonly threads?: number
  /** Runs of one lane take turns, those of different lanes overlap (default: lane 0). A GPU has only one lane. */
  readonly lane?: number
  /**
   * Leaves weights in the checkpoint's pages, in their precision there, instead of a rearranged copy: half the memory or
   * much less, up to twice the time.
   */
  readonly lowMemory?: boolean
  /** Gives what a run takes back when it ends, for a fiftieth of its time, instead of keeping it for the next. */
  readonly freeAfterRun?: boolean
  /** Bytes of the external data whose `location` is a key here. */
  readonly files?: Readonly<Record<string, Uint8Array>>
  /** Writes the time of every node to a file whose path begins so, when the engine closes. */
  readonly profile?: string
}

/** One graph held by ONNX Runtime. Feeds and output names are trusted here: `openSession` checks them. */
export interface Engine {
  run(feeds: Readonly<Record<string, Tensor>>, outputs: readonly string[]): Promise<Record<string, Tensor>>
  close(): Promise<void>
}

/** A graph that is a file's bytes already, whole: no weight of it is elsewhere. */
export interface GraphBytes {
  readonly graphName: string
  readonly bytes: Uint8Array
}

/** Bytes that can be read anywhere until they are closed. */
export interface OpenByteSource extends ByteSource {
  close(): void
}

/** A stretch of a file that is written while it is made. */
export interface FilePart {
  readonly bytes: number
  make(): AsyncIterable<Uint8Array>
}

/**
 * What limn needs of the machine that it runs on. `#platform` is the half that implements it: for Node a path is one
 * of the file system, for a browser it is an address.
 */
export interface Platform {
  /**
   * Loads a graph off the caller's thread; bytes are gone from the caller's then. Throws a LimnError that says what was
   * refused, and where.
   */
  openEngine(model: OnnxModel | GraphBytes, options: EngineOptions): Promise<Engine>
  /** Starts what `openEngine` would wait for first on a CPU, so that it is ready sooner. */
  wakeEngine(): void
  /** Accelerators that may be there, fastest first, by a look that costs no more than a millisecond. */
  likelyAccelerators(): readonly Device[]
  /** `productMs` of a device, asked so that its driver can harm nothing; undefined where the device does not work. */
  timeDevice(device: Device, size: number): Promise<number | undefined>
  /** One path from parts, independent of where the process or the page stands. */
  absolutePath(...parts: readonly string[]): string
  /** Throws a LimnError where there is no such file. A browser fetches the whole of it. */
  openByteSource(path: string): OpenByteSource | Promise<OpenByteSource>
  /** A whole file. Throws a LimnError where there is none. */
  readBytes(path: string): Promise<Uint8Array>
  /** A whole file of UTF-8; a URL is that of a file of limn's own. Throws a LimnError where there is none. */
  readText(path: string | URL): Promise<string>
  /** Writes a file whole or not at all. Throws a LimnError that names the path; a browser has no files to write. */
  writeFileAtomic(path: string, chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void>
  /**
   * Writes a file of a head and parts, whole or not at all, and goes on where an earlier call with the same head was cut.
   * Throws what a part's maker throws, and a LimnError that names the path.
   */
  writeFileInParts(path: string, head: Uint8Array, parts: readonly FilePart[]): Promise<void>
  /** Where limn keeps what it made once and can make again; not made yet. Throws a LimnError in a browser. */
  cacheFolder(): string
  /** Whether there is such a folder, and files can be made in it. */
  isWritableFolder(path: string): Promise<boolean>
  /**
   * A picture file as 8-bit pixels, turned the way it says. Throws a FormatError, in which the file is called `name`,
   * where it is no picture, damaged or too large.
   */
  decodePicture(bytes: Uint8Array, name: string): Promise<Pixels>
  /**
   * A line of text in the machine's own letters, `size` pixels from line to line, cut to its ink; undefined where the
   * machine has no letter for one of its characters.
   */
  drawText(text: string, size: number): Promise<Ink | undefined>
  /** Whether there is such a file or folder. */
  exists(path: string): Promise<boolean>
  /** Names in a folder, sorted; without their folder. Throws a LimnError where there is none, as browsers always do. */
  list(folder: string): Promise<string[]>
  /** Makes a folder and those above it, where they are not there. Throws a LimnError where it cannot. */
  makeFolder(path: string): Promise<void>
  /**
   * Brings files of a repository of the Hub here, or finds them in the cache; the folder that they lie in. Throws a
   * UsageError for a name or a revision that cannot be, a LimnError where they cannot be had, as always in a browser, a
   * FormatError where the Hub gives other bytes than it lists.
   */
  fetchSnapshot(order: SnapshotOrder): Promise<string>
  /** What the cache holds of a repository of the Hub; no snapshots where it holds nothing. */
  cachedRepo(repo: string): Promise<CachedRepo>
  /** Memory that could be had now without taking it from others; undefined where the system does not say. */
  availableMemoryBytes(): number | undefined
  /** The most memory that this process has held, or undefined where that is unknown. */
  peakMemoryBytes(): number | undefined
  /** How many threads can run at once. */
  cpuCount(): number
}
