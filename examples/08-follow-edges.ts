// A ControlNet holds the forms, the words say the rest.
//   npx tsx --conditions=source examples/08-follow-edges.ts [FOLDER OF MODELS]

import { cannyEdges, controlNet, load, textToImage } from "limn"

const models = process.argv[2] ?? "models"
const plain = await load(`${models}/inkling`)
const model = await plain.with(controlNet(`${models}/inkling-canny`))

// Any picture will do, read by readImage or drawn as here; a ControlNet for depth or poses takes such maps as they are.
const { image: first } = await textToImage(plain, { prompt: "a red car", seed: 3 })
const edges = cannyEdges(first.pixels)

for (const prompt of ["a blue car", "a yellow car on a black background", "绿色的汽车"]) {
  const { image, settings } = await textToImage(model, {
    prompt,
    seed: 3,
    controls: [{ image: edges, end: 0.8 }],
  })
  const file = `follow-${prompt.replaceAll(" ", "-")}.png`
  await image.save(file)
  console.log(`${file} follows ${settings.controls?.[0].name}`)
}
