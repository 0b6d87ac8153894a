// A picture drawn over, and one filled in where a mask is white.
//   npx tsx --conditions=source examples/06-over-a-picture.ts [MODEL]

import { imageToImage, inpaint, load, pixels, textToImage } from "limn"

const model = await load(process.argv[2] ?? "models/inkling")
const { image: first } = await textToImage(model, { prompt: "an apple", seed: 2 })
await first.save("apple.png")

// At strength 0.6 the walk begins six tenths of the way from the end: what is large stays.
const over = await imageToImage(model, {
  prompt: "a blue apple",
  image: first.pixels,
  strength: 0.6,
  seed: 2,
})
await over.image.save("blue-apple.png")

const { width, height } = first.pixels
const mask = new Uint8Array(width * height * 3)
mask.fill(255, 0, (height / 2) * width * 3) // the upper half
const into = await inpaint(model, {
  prompt: "an orange",
  image: first.pixels,
  mask: pixels(width, height, 3, mask),
  seed: 3,
})
await into.image.save("half-an-apple.png")
console.log(`apple.png, blue-apple.png and half-an-apple.png: ${width}x${height}`)
