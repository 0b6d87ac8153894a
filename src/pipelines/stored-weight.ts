import { openByteSource } from "#platform"
import type { StoredWeight } from "../graph/weights.ts"
import type { Tensor } from "../ground/tensor.ts"
import { tensorFromBytes } from "../ground/tensor.ts"

/** A weight's numbers, read where they lie. Throws a LimnError where its file is gone, a FormatError where it was cut. */
export async function readStored({ dtype, shape, storage }: StoredWeight): Promise<Tensor> {
  if (storage.kind === "memory") return storage.tensor
  const source = await openByteSource(storage.file)
  try {
    return tensorFromBytes(dtype, shape, source.read(storage.offset, storage.length))
  } finally {
    source.close()
  }
}
