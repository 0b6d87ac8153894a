// What becomes of a picture that is nearly right: others like it, a larger one, a wider one.
//   npx tsx --conditions=source examples/07-vary-enlarge-extend.ts [MODEL]

import { hiresFix, load, outpaint, textToImage } from "limn"

const model = await load(process.argv[2] ?? "models/inkling")
const prompt = "a red heart on a blue background"

// Three variations of seed 3: their noise is four tenths of the way to that of other seeds.
const varied = await textToImage(model, {
  prompt,
  imagesPerPrompt: 3,
  variationOf: 3,
  variationStrength: 0.4,
  seed: [1, 2, 3],
})
for (const [i, image] of varied.images.entries()) await image.save(`variation-${i + 1}.png`)

// Drawn at the size that the model knows, enlarged, and drawn over, in one call.
const large = await hiresFix(model, { prompt, seed: 3, upscale: 2, upscaleStrength: 0.3 })
await large.image.save("large.png")

// What was drawn first stays in the middle; what is beside it is new.
const { image: first } = await textToImage(model, { prompt, seed: 3 })
const wide = await outpaint(model, {
  prompt,
  seed: 4,
  image: first.pixels,
  extend: { left: 20, right: 20 },
})
await wide.image.save("wide.png")

for (const [name, { pixels }] of Object.entries({ large: large.image, wide: wide.image }))
  console.log(`${name}.png: ${pixels.width}x${pixels.height}`)
