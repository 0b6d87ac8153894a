import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { writeFileAtomic } from "#platform"
import { encodeSafetensors } from "../src/formats/safetensors.ts"
import { storedWeights } from "../src/graph/weights.ts"
import { cpuGenerator } from "../src/ground/random/cpu-generator.ts"
import { decodeLatents as describeDecoder } from "../src/models/autoencoder-kl.ts"
import { autoencoderConfig } from "../src/models/config/autoencoder.ts"
import { taesdConfig } from "../src/models/config/taesd.ts"
import { autoencoderParameters } from "../src/models/parameters/autoencoder.ts"
import { initialize } from "../src/models/parameters/initialize.ts"
import { taesdParameters } from "../src/models/parameters/taesd.ts"
import { autoencoder } from "../src/models/stable-diffusion-1.ts"
import { decodeLatents } from "../src/pipelines/autoencoder.ts"
import { openTensors } from "../src/pipelines/component.ts"
import type { Network } from "../src/pipelines/network.ts"
import { network } from "../src/pipelines/network.ts"
import { taesdDecoder } from "../src/pipelines/taesd.ts"
import type { Memory } from "../test/full/memory.ts"
import { itself, runApart } from "./apart.ts"
import { commonOptions, measured, median, report, rounded } from "./machine.ts"

/**
 * How long it takes to decode one large picture, graphs loaded on the way, and the most memory that the process holds:
 * by Stable Diffusion 1.x's autoencoder and by TAESD, both at full size and of random weights, in tiles and, with
 * --whole, at once, which takes the more memory the larger the picture.
 */
const { values: options } = parseArgs({
  options: {
    ...commonOptions,
    size: { type: "string", default: "2048" },
    whole: { type: "boolean", default: false },
    // How this program runs itself, so that each run's peak is its own.
    run: { type: "string" },
    weights: { type: "string" },
  },
})
const size = Number(options.size)

const vae = autoencoderConfig(autoencoder, "vae")
// As `load` runs autoencoders.
const running = { device: "cpu", precision: "fp32", freeAfterRun: true } as const
const isDecoders = ({ name }: { readonly name: string }) => /^(decoder|post_quant_conv)\./.test(name)

const decoders: Readonly<Record<string, (weights: string) => Promise<Network>>> = {
  "Stable Diffusion 1.x": async (weights) => {
    const tensors = await openTensors([{ path: weights }], (name) => name)
    return network(
      ({ latents }) => ({ image: describeDecoder(latents, storedWeights(tensors, weights), vae) }),
      running,
    )
  },
  TAESD: (weights) => taesdDecoder(weights, { channels: 4, latentPixels: 8 }, running),
}

const specs = {
  "Stable Diffusion 1.x": autoencoderParameters(vae).filter(isDecoders),
  TAESD: taesdParameters(taesdConfig({}, "taesd")).filter(isDecoders),
}

/** One run in a process of its own. */
function runAlone(name: string, weights: string, whole: boolean): Promise<{ seconds: number } & Memory> {
  const said = ["--run", name, "--weights", weights, "--size", options.size, ...(whole ? ["--whole"] : [])]
  return runApart(...itself(import.meta.filename, said))
}

async function run(name: string, weights: string): Promise<{ seconds: number }> {
  const decoder = await decoders[name](weights)
  const latents = cpuGenerator(1).randn([1, 4, size / 8, size / 8])
  const started = performance.now()
  await decodeLatents({ decoder, latentPixels: 8 }, latents, { tiled: !options.whole })
  const seconds = (performance.now() - started) / 1000
  return { seconds }
}

async function compare(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "limn-bench-"))
  const rows: object[] = []
  try {
    for (const [name, parameters] of Object.entries(specs)) {
      const weights = join(folder, `${rows.length}.safetensors`)
      await writeFileAtomic(weights, encodeSafetensors(initialize(parameters, cpuGenerator(1))))
      for (const whole of options.whole ? [false, true] : [false]) {
        const runs: ({ seconds: number } & Memory)[] = []
        for (let k = 0; k < Number(options.repeats); k++) runs.push(await runAlone(name, weights, whole))
        rows.push({
          decoder: name,
          picture: `${size}x${size}, ${whole ? "whole" : "in tiles"}`,
          "seconds, median": rounded(median(runs.map(({ seconds }) => seconds))),
          "peak MiB, median": Math.round(median(runs.map(({ whole }) => whole * 1024))),
        })
      }
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
  report("decode", measured(options), rows)
}

if (options.run !== undefined && options.weights !== undefined)
  console.log(JSON.stringify(await run(options.run, options.weights)))
else await compare()
