// A checkpoint is read where it lies: first its header, then only the tensors that are asked for.
//   npx tsx --conditions=source examples/05-read-a-checkpoint.ts [FILE]

import { openByteSource, readSafetensorsHeader, readTensor, toFloat32 } from "limn"

const source = await openByteSource(
  process.argv[2] ?? "models/inkling/unet/diffusion_pytorch_model.safetensors",
)
const file = readSafetensorsHeader(source)
console.log(`${source.name}: ${file.tensors.size} tensors in ${source.size} bytes`)

for (const [name, { storedAs, shape, offset }] of [...file.tensors].slice(0, 5)) {
  const { data } = toFloat32(readTensor(file, name))
  const largest = data.reduce((most, v) => Math.max(most, Math.abs(v)), 0)
  console.log(`${name}  ${storedAs} [${shape}] at byte ${offset}, at most ${largest.toFixed(4)}`)
}
source.close()
