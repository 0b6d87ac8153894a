import { expect, test } from "vitest"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { ClipTextConfig } from "../../src/models/config/clip-text.ts"
import type { ClipVisionConfig } from "../../src/models/config/clip-vision.ts"
import { matching } from "../../src/training/objectives/matching.ts"

const [begin, end] = [98, 99]

/** One picture for each row, so that a batch holds every row. */
function batchOf(rows: readonly (readonly number[])[], captionLength?: number) {
  const length = 6
  const images = { count: 1, width: 2, height: 2, captions: [], pixels: () => new Uint8Array(12), close() {} }
  let given = 0
  const captions = {
    length,
    row: (caption: number) => {
      const ids = [begin, ...rows[caption], end]
      const padding = new Array<number>(length - ids.length).fill(end)
      return { ids: [...ids, ...padding], length: ids.length, dropped: "" }
    },
    draw: () => given++,
  }
  // A batch depends on no tower, only the loss does.
  const towers = { text: {} as ClipTextConfig, vision: {} as ClipVisionConfig }
  return matching(images, captions, towers, { batchSize: rows.length, captionLength }).batch(cpuGenerator(1))
}

const idsOf = async (batch: ReturnType<typeof batchOf>) => {
  const { ids, ends } = await batch
  return { shape: ids.shape, ids: Array.from(ids.data, Number), ends: Array.from(ends.data, Number) }
}

test("captions are read whole unless told otherwise", async () => {
  expect(await idsOf(batchOf([[1], [1, 2, 3, 4]]))).toEqual({
    shape: [2, 6],
    ids: [begin, 1, end, end, end, end, begin, 1, 2, 3, 4, end],
    ends: [2, 11],
  })
})

test("captions longer than captionLength are cut and still end with the end", async () => {
  expect(await idsOf(batchOf([[1], [1, 2, 3, 4]], 4))).toEqual({
    shape: [2, 4],
    ids: [begin, 1, end, end, begin, 1, 2, end],
    ends: [2, 7],
  })
})

test("a captionLength beyond what the tokenizer gives changes nothing", async () => {
  expect(await idsOf(batchOf([[1, 2]], 40))).toEqual(await idsOf(batchOf([[1, 2]])))
})
