import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"

/** Two small pictures, guided, for tests of what is done at some steps only. */
export const drawing = {
  prompt: ["a paper boat", "an ink pot"],
  negativePrompt: "rain",
  steps: 6,
  seed: 7,
  guidanceScale: 4,
  width: 40,
  height: 24,
  scheduler: "Euler",
}
/** What a ControlNet is given for them: noise. */
export const control = {
  image: pixels(
    40,
    24,
    3,
    Uint8Array.from(cpuGenerator(1).rand([24 * 40 * 3]).data, (u) => 256 * u),
  ),
}
