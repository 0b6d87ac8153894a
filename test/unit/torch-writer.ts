import type { DType } from "../../src/ground/dtype.ts"
import type { Tensor } from "../../src/ground/tensor.ts"

/** A small writer of what torch.save writes, so that tests can make checkpoints of any size, and damaged ones. */

const storageClass: { readonly [D in DType]: string } = {
  float64: "DoubleStorage",
  float32: "FloatStorage",
  float16: "HalfStorage",
  bfloat16: "BFloat16Storage",
  int64: "LongStorage",
  int32: "IntStorage",
  int8: "CharStorage",
  uint8: "ByteStorage",
  bool: "BoolStorage",
}

/** How a zip file departs from a plain one. */
export interface ZipOptions {
  /** Every number stands in the 64-bit fields. */
  readonly zip64?: boolean
  /** What the directory says of how files are compressed. */
  readonly method?: number
  /** Files begin at multiples of this, as PyTorch's do. */
  readonly align?: number
}

/** A zip file of stored files. Checksums are left 0. */
export function zipOf(
  files: readonly (readonly [name: string, bytes: Uint8Array])[],
  { zip64 = false, method = 0, align = 64 }: ZipOptions = {},
): Uint8Array {
  const chunks: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  const add = (...parts: Buffer[]) => {
    for (const part of parts) {
      chunks.push(part)
      at += part.length
    }
  }
  for (const [name, bytes] of files) {
    const title = Buffer.from(name)
    const padding = align - ((at + 30 + title.length) % align)
    const header = Buffer.alloc(30)
    header.writeUInt32LE(0x04034b50)
    header.writeUInt16LE(method, 8)
    header.writeUInt32LE(bytes.length, 18)
    header.writeUInt32LE(bytes.length, 22)
    header.writeUInt16LE(title.length, 26)
    header.writeUInt16LE(padding, 28)
    const entry = Buffer.alloc(46)
    const extra = zip64 ? extra64([bytes.length, bytes.length, at]) : Buffer.alloc(0)
    entry.writeUInt32LE(0x02014b50)
    entry.writeUInt16LE(method, 10)
    entry.writeUInt32LE(zip64 ? 0xffffffff : bytes.length, 20)
    entry.writeUInt32LE(zip64 ? 0xffffffff : bytes.length, 24)
    entry.writeUInt16LE(title.length, 28)
    entry.writeUInt16LE(extra.length, 30)
    entry.writeUInt32LE(zip64 ? 0xffffffff : at, 42)
    directory.push(entry, title, extra)
    add(header, title, Buffer.alloc(padding), Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
  }
  const start = at
  add(...directory)
  const length = at - start
  if (zip64) {
    const end64 = Buffer.alloc(56)
    end64.writeUInt32LE(0x06064b50)
    end64.writeBigUInt64LE(44n, 4)
    end64.writeBigUInt64LE(BigInt(files.length), 24)
    end64.writeBigUInt64LE(BigInt(files.length), 32)
    end64.writeBigUInt64LE(BigInt(length), 40)
    end64.writeBigUInt64LE(BigInt(start), 48)
    const locator = Buffer.alloc(20)
    locator.writeUInt32LE(0x07064b50)
    locator.writeBigUInt64LE(BigInt(at), 8)
    locator.writeUInt32LE(1, 16)
    add(end64, locator)
  }
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50)
  end.writeUInt16LE(zip64 ? 0xffff : files.length, 8)
  end.writeUInt16LE(zip64 ? 0xffff : files.length, 10)
  end.writeUInt32LE(zip64 ? 0xffffffff : length, 12)
  end.writeUInt32LE(zip64 ? 0xffffffff : start, 16)
  add(end)
  const whole = Buffer.concat(chunks)
  // No Buffer, whose slices share its memory.
  return new Uint8Array(whole.buffer, whole.byteOffset, whole.length)
}

function extra64(numbers: readonly number[]): Buffer {
  // Behind a field of another kind, which is to be passed over.
  const out = Buffer.alloc(6 + 4 + 8 * numbers.length)
  out.writeUInt16LE(0x4246)
  out.writeUInt16LE(2, 2)
  out.writeUInt16LE(1, 6)
  out.writeUInt16LE(8 * numbers.length, 8)
  for (const [i, n] of numbers.entries()) out.writeBigUInt64LE(BigInt(n), 10 + 8 * i)
  return out
}

/** Pieces of a pickle of protocol 2. */
export const pickled = {
  none: Buffer.from("N"),
  int: (n: number) => withNumber("J", n),
  text: (text: string) => Buffer.concat([withNumber("X", Buffer.byteLength(text)), Buffer.from(text)]),
  tuple: (...items: Buffer[]) => Buffer.concat([Buffer.from("("), ...items, Buffer.from("t")]),
  dict: (items: readonly (readonly [key: string, value: Buffer])[]) =>
    Buffer.concat([
      Buffer.from("}("),
      ...items.flatMap(([key, value]) => [pickled.text(key), value]),
      Buffer.from("u"),
    ]),
  global: (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`),
  call: (callee: Buffer, args: Buffer) => Buffer.concat([callee, args, Buffer.from("R")]),
  /** A tensor over a storage of `count` elements. */
  tensor: (
    key: string,
    dtype: DType,
    count: number,
    shape: readonly number[],
    stride = rowMajor(shape),
    first = 0,
  ) =>
    pickled.call(
      pickled.global("torch._utils", "_rebuild_tensor_v2"),
      pickled.tuple(
        Buffer.concat([
          pickled.tuple(
            pickled.text("storage"),
            pickled.global("torch", storageClass[dtype]),
            pickled.text(key),
            pickled.text("cpu"),
            pickled.int(count),
          ),
          Buffer.from("Q"),
        ]),
        pickled.int(first),
        pickled.tuple(...shape.map(pickled.int)),
        pickled.tuple(...stride.map(pickled.int)),
        Buffer.of(0x89),
        pickled.call(pickled.global("collections", "OrderedDict"), pickled.tuple()),
      ),
    ),
  whole: (...pieces: Buffer[]) => Buffer.concat([Buffer.of(0x80, 2), ...pieces, Buffer.from(".")]),
}

function withNumber(code: string, n: number): Buffer {
  const out = Buffer.alloc(5, code)
  out.writeInt32LE(n, 1)
  return out
}

function rowMajor(shape: readonly number[]): number[] {
  return shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1))
}

/** A zip file around this pickle, with storages by their keys. */
export function torchZip(
  pickle: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>> = {},
  { byteOrder = "little", ...options }: ZipOptions & { readonly byteOrder?: string } = {},
): Uint8Array {
  return zipOf(
    [
      ["archive/data.pkl", pickle],
      ["archive/byteorder", Buffer.from(byteOrder)],
      ...Object.entries(storages).map(([key, bytes]) => [`archive/data/${key}`, bytes] as const),
      ["archive/version", Buffer.from("3\n")],
    ],
    options,
  )
}

/** A checkpoint as training writes it: these tensors under "state_dict". */
export function torchCheckpoint(tensors: ReadonlyMap<string, Tensor>, options: ZipOptions = {}): Uint8Array {
  const named = [...tensors].map(([name, { dtype, shape, data }], key) => {
    return [name, pickled.tensor(String(key), dtype, data.length, shape)] as const
  })
  const storages = Object.fromEntries(
    [...tensors.values()].map(({ data }, key) => [
      String(key),
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    ]),
  )
  const root = pickled.dict([
    ["global_step", pickled.int(470_000)],
    ["state_dict", pickled.dict(named)],
  ])
  return torchZip(pickled.whole(root), storages, options)
}
