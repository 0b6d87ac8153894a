import { readFileSync } from "node:fs"
import { Command, CommanderError, Option } from "commander"
import { LimnError, messageOf, UsageError } from "../ground/errors.ts"
import { axisOption } from "./axes.ts"
import { choiceOption, listOption, loraOption, numberOption, numbersOption, seedOption } from "./options.ts"

// Commands are imported when they run: the help shows at once.

const examples = `
Examples:
  limn "a red heart"
  limn "一颗红心" --seed 7 --out pictures/
  limn "three stars" "a cat left of an apple" --images 4
  limn "a (red:1.3) heart, [glossy]"
  limn "a paper boat" --model ~/sd-v1-4 --scheduler "DPM++ 2M Karras"
  limn "a paper boat" --model CompVis/stable-diffusion-v1-4
  limn --prompts prompts.txt --out pictures/
  limn "a paper boat" --model stabilityai/sdxl-turbo --low-memory
  limn "一只猫" --model Kwai-Kolors/Kolors-diffusers --text-encoder int8
  limn --json < prompts.txt
  limn "a blue heart" --image red-heart-7.png --strength 0.6
  limn "a wide beach" --image beach.jpg --left 128 --right 128
  limn "a house in snow" --model ~/sd-v1-5 --control-image canny:house.jpg \\
    --control lllyasviel/sd-controlnet-canny
  limn "a clay hut" --model ~/sd-v1-5 --control-image depth:house.jpg \\
    --depth-model depth_anything_v2_vits.onnx \\
    --control lllyasviel/sd-controlnet-depth
  limn "宇航员" --model Kwai-Kolors/Kolors-diffusers --pose-models ~/dwpose \\
    --control-image pose:dancer.jpg --control Kwai-Kolors/Kolors-ControlNet-Pose
  limn "a cat, in a garden" --model ~/sd-v1-5 --ip-image my-cat.jpg \\
    --ip-adapter h94/IP-Adapter/models/ip-adapter_sd15.safetensors
  limn "西部牛仔，牛仔帽" --model Kwai-Kolors/Kolors-diffusers --face me.jpg \\
    --face-id Kwai-Kolors/Kolors-IP-Adapter-FaceID-Plus \\
    --face-models ~/antelopev2 --face-scale 0.8
  limn "a red heart" --variation-of 7 --images 4
  limn "a lighthouse" --model ~/sd-v1-5 --upscale 2
  limn grid "a red heart" --x steps=4,8,16 --y guidance=1,3,5
  limn again red-heart-7.png --steps 40
  limn info red-heart-7.png

Words without quotes make one prompt; of several quoted prompts, each makes a
picture. (word:1.3), (word) and [word] weigh words as in web tools; a bracket
itself stands behind a backslash. Pictures are named after their prompts and
seeds and never replace others; only a file that --out names is replaced.
`

const fuseHelp = `
The picture of --identity is looked at everywhere but where style is made, that
of --style there alone. --ip-scale says how much of the first.

Examples:
  limn fuse "a person in a garden" --identity me.jpg --style watercolour.jpg \\
    --model Kwai-Kolors/Kolors-diffusers \\
    --ip-adapter Kwai-Kolors/Kolors-IP-Adapter-Plus
`

const restyleHelp = `
The ControlNet holds the forms: it follows the edges of the portrait, or the
--control-image, as for one that reads depth. The IP-Adapter holds who it is, or
looks at --style. --ip-scale (default: 0.5) and --strength say how much stays.

Examples:
  limn restyle me.jpg "an oil painting" --model Kwai-Kolors/Kolors-diffusers \\
    --control Kwai-Kolors/Kolors-ControlNet-Canny \\
    --ip-adapter Kwai-Kolors/Kolors-IP-Adapter-Plus
  limn restyle me.jpg "a statue" --control Kwai-Kolors/Kolors-ControlNet-Depth \\
    --control-image depth:me.jpg --depth-model depth_anything_v2_vits.onnx \\
    --ip-adapter Kwai-Kolors/Kolors-IP-Adapter-Plus --style marble.jpg \\
    --model Kwai-Kolors/Kolors-diffusers
`

const gridHelp = `
Settings: prompt, negative, seed, steps, guidance, scheduler, strength,
variation (the strength of one), lora (the scale of what --lora gives). Values
stand between commas, or between bars where one of them has a comma.

Examples:
  limn grid "a red heart" --x steps=4,8,16 --y guidance=1,3,5 --out grid.png
  limn grid --x "prompt=a red heart|一颗红心, 白色背景" --y seed=1,2,3
  limn grid "a red heart" --x "scheduler=ddim,euler,DPM++ 2M Karras"
  limn grid "a blue heart" --image red-heart-7.png --x strength=0.3,0.6,0.9
  limn grid "a red heart" --variation-of 7 --x variation=0,0.2,0.4 --y seed=1,2
`

/** The command line: what can be said, and which command answers. */
function program(): Command {
  const limn = withPictures(withSizes(withDrawingOptions(new Command("limn"))))
    .description("Draws pictures from text, on this machine.")
    .usage("[options] <prompt...>")
    .argument("[prompt...]", "what to draw; without it, each line of standard input")
    .version(version(), "--version", "print limn's version")
    .helpCommand(false)
    .enablePositionalOptions()
    // Longer terms would leave the descriptions too little room to be wrapped in.
    .configureHelp({
      subcommandTerm: (command) => `${command.name()} ${command.usage().replace("[options] ", "")}`,
    })
    .addHelpText("after", examples)
    .action(async (prompts: string[], options) => {
      const { generate } = await import("./generate.ts")
      await generate(prompts, options)
    })

  withSizes(withDrawingOptions(limn.command("again")))
    .usage("[options] <picture>")
    .description("draw a picture again, as its file says")
    .argument("<picture>", "a .png file that limn, A1111 or ComfyUI wrote")
    .action(async (path: string, options) => {
      const { again } = await import("./again.ts")
      await again(path, options)
    })

  withSizes(withDrawingOptions(limn.command("grid")))
    .usage("[options] [prompt]")
    .description("draw pictures with other settings side by side")
    .argument("[prompt...]", "what to draw, unless the grid is one of prompts")
    .addOption(axisOption("--x <setting=values>", "from left to right, as steps=4,8,16"))
    .addOption(axisOption("--y <setting=values>", "from the top down, as guidance=1,3,5"))
    .addHelpText("after", gridHelp)
    .action(async (prompts: string[], options) => {
      const { drawGrid } = await import("./grid.ts")
      await drawGrid(prompts, options)
    })

  withPictures(withDrawingOptions(limn.command("fuse")))
    .usage("[options] <prompt...>")
    .description("draw what one picture shows in the style of another")
    .argument("[prompt...]", "what to draw; without it, each line of standard input")
    .option("--identity <file>", "who or what is drawn")
    .option("--style <file>", "in whose style")
    .addOption(numberOption("--style-scale <x>", "how much of the style (default: 1)"))
    .addHelpText("after", fuseHelp)
    .action(async (prompts: string[], options) => {
      const { fuse } = await import("./fuse.ts")
      await fuse(prompts, options)
    })

  withPictures(withDrawingOptions(limn.command("restyle")))
    .usage("[options] <picture> <prompt...>")
    .description("draw a portrait in another style")
    .argument("<picture>", "the portrait")
    .argument("[prompt...]", "what to draw; without it, each line of standard input")
    .option("--style <file>", "a picture in whose style (default: the portrait, and the prompt's style)")
    .addHelpText("after", restyleHelp)
    .action(async (path: string, prompts: string[], options) => {
      const { restyle } = await import("./restyle.ts")
      await restyle(path, prompts, options)
    })

  limn
    .command("info")
    .usage("<path>")
    .description("say what a model or a picture holds")
    .argument("<path>", "a model's folder or name, a checkpoint (.safetensors, .ckpt, .bin), or a .png file")
    .option("--json", "print one JSON object, with every tensor")
    .addOption(debugOption())
    .action(async (path: string, options) => {
      const { info } = await import("./info.ts")
      await info(path, options)
    })

  limn
    .command("train")
    .usage("<config>")
    .description("train a model, or resume")
    .argument("<config>", "a JSON file: what to learn, from which pictures")
    .addOption(debugOption())
    .action(async (config: string) => {
      const { train } = await import("./train.ts")
      await train(config)
    })

  for (const command of [limn, ...limn.commands])
    command
      .helpOption("--help", "print this")
      // Its errors are thrown, to be printed like all others.
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
  return limn
}

/** The options of commands that draw each prompt several times. */
function withPictures(command: Command): Command {
  return command
    .option("--prompts <file>", "a text file with a prompt in each line")
    .addOption(numberOption("--images <n>", "pictures of each prompt (default: 1)"))
}

/** The options of every command that draws. */
function withDrawingOptions(command: Command): Command {
  return command
    .option("--model <path>", "a diffusers folder, a checkpoint, or org/name on the Hub (default: Inkling)")
    .option("--revision <name>", "a branch, tag or commit of a model on the Hub (default: main)")
    .addOption(listOption("--embedding <file>", "a word learnt by textual inversion; may be repeated"))
    .option("--decoder <path>", "TAESD, to decode fast and roughly (default: the model's own)")
    .option("--out <path>", "a .png file, or a folder (default: this one)")
    .option("--negative <text>", "what the picture should not be like")
    .addOption(seedOption("--seed <n>", "same seed, same picture (default: random)"))
    .addOption(seedOption("--variation-of <n>", "a seed to vary; --seed says into which direction"))
    .addOption(numberOption("--variation-strength <x>", "how far, 0 to 1: to --seed itself (default: 0.2)"))
    .addOption(
      choiceOption("--noise <name>", ["cpu", "cuda"], "the seed's numbers as PyTorch draws them on "),
    )
    .addOption(numberOption("--steps <n>", "steps from noise to picture (default: the model's; Turbo: 1)"))
    .addOption(
      numberOption("--guidance <x>", "how closely to follow the prompt (default: the model's; Turbo: 0)"),
    )
    .addOption(numberOption("--guidance-start <x>", "from which share of the steps on (default: 0)"))
    .addOption(
      numberOption("--guidance-end <x>", "up to which; steps without take half the time (default: 1)"),
    )
    .addOption(
      numberOption(
        "--cache-interval <n>",
        "run the denoiser whole at every so many steps, faster (default: 1)",
      ),
    )
    .addOption(numberOption("--width <n>", "in pixels, a multiple of 8 (default: the model's)"))
    .addOption(numberOption("--height <n>", "in pixels, a multiple of 8 (default: the model's)"))
    .option("--scheduler <name>", "ddim, euler, euler-ancestral, pndm and others")
    .option("--image <file>", "a picture to draw over")
    .addOption(
      numberOption(
        "--strength <x>",
        "how far to leave it, 0 to 1 (default: 0.8; 1 with --mask; less for Kolors)",
      ),
    )
    .option("--mask <file>", "draw only where this picture is white")
    .addOption(
      loraOption(
        "--lora <file[:scale]>",
        "a LoRA, and how much of it (default: 1; Kolors: 0.8); may be repeated",
      ),
    )
    .addOption(listOption("--control <path>", "a ControlNet: a folder, a file, or org/name; may be repeated"))
    .addOption(
      listOption(
        "--control-image <file>",
        "what it follows; canny:<file> for the edges of a picture, depth:<file> for its depth, pose:<file> for the people in it",
      ),
    )
    .option("--depth-model <file>", "an ONNX network that tells depth, as MiDaS' or Depth Anything's")
    .addOption(
      listOption(
        "--pose-models <path>",
        "DWPose's two networks: the folder of yolox_l.onnx and dw-ll_ucoco_384.onnx, or files",
      ),
    )
    .addOption(numbersOption("--control-scale <x>", "how much of it (default: 1; Kolors: 0.8)"))
    .addOption(numbersOption("--control-start <x>", "from which share of the steps on (default: 0)"))
    .addOption(numbersOption("--control-end <x>", "up to which share of the steps (default: 1)"))
    .option(
      "--ip-adapter <path>",
      "an IP-Adapter, to draw after pictures: a file, a folder, or org/name/file",
    )
    .addOption(listOption("--ip-image <file>", "a picture that it looks at; may be repeated"))
    .addOption(numberOption("--ip-scale <x>", "how much of it (default: 1; Kolors: 0.5)"))
    .option("--ip-encoder <path>", "its image encoder (default: image_encoder beside it)")
    .option(
      "--face-id <path>",
      "an IP-Adapter that reads faces, as Kolors' FaceID: a folder, a file, or org/name",
    )
    .addOption(listOption("--face <file>", "a picture of a face; may be repeated"))
    .addOption(
      listOption("--face-models <path>", "insightface's networks, as the folder antelopev2, or files"),
    )
    .addOption(numbersOption("--face-index <n>", "which face, 0 being the largest (default: 0)"))
    .addOption(numberOption("--face-scale <x>", "how much of it (default: 1; Kolors: 0.8)"))
    .option("--face-encoder <path>", "its image encoder (default: the one beside it)")
    .addOption(choiceOption("--device <name>", ["auto", "cpu", "webgpu", "cuda"]))
    .addOption(choiceOption("--precision <name>", ["auto", "fp32", "fp16", "int8"]))
    .addOption(
      choiceOption(
        "--text-encoder <name>",
        ["float32", "int8", "int4"],
        "what Kolors' text encoder is kept in: ",
      ),
    )
    .option("--low-memory", "take less memory and more time")
    .option("--no-safety-checker", "show what the model's safety checker would withhold")
    .option("--json", "print one JSON object and nothing else")
    .option("--quiet", "print nothing but errors")
    .addOption(debugOption())
}

/** The options that say how much larger pictures become. */
function withSizes(command: Command): Command {
  return command
    .addOption(numberOption("--upscale <x>", "draw, enlarge so many times, and draw over that"))
    .addOption(numberOption("--upscale-strength <x>", "how far to leave it, 0 to 1 (default: 0.5)"))
    .addOption(numberOption("--upscale-steps <n>", "steps of the second stage (default: of the first)"))
    .addOption(numberOption("--left <n>", "pixels to draw around --image, on its left"))
    .addOption(numberOption("--top <n>", "above it"))
    .addOption(numberOption("--right <n>", "on its right"))
    .addOption(numberOption("--bottom <n>", "below it"))
}

function debugOption(): Option {
  return new Option("--debug", "print where in limn an error happened")
}

function version(): string {
  const json: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
  return (json as { version: string }).version
}

/** Runs the command line; errors become one sentence and an exit code. */
async function main(args: readonly string[]): Promise<void> {
  // Whoever reads our output may stop early, as `head` does.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error
    process.exit()
  })
  try {
    await program().parseAsync(args, { from: "user" })
  } catch (error) {
    report(error, args)
  }
}

function report(thrown: unknown, args: readonly string[]): void {
  const error = thrown instanceof CommanderError ? usageError(thrown, args) : thrown
  if (error === undefined) return
  process.exitCode = error instanceof UsageError ? 2 : 1
  const unexpected = error instanceof LimnError ? "" : "An error that limn did not foresee: "
  process.stderr.write(`limn: ${unexpected}${messageOf(error)}\n`)
  if (args.includes("--debug") && error instanceof Error) process.stderr.write(`${stackOf(error)}\n`)
}

/** Commander's complaint as one of ours; undefined for help and the version, which it throws too. */
function usageError(error: CommanderError, args: readonly string[]): UsageError | undefined {
  if (error.exitCode === 0) return undefined
  if (error.code === "commander.excessArguments")
    return new UsageError(
      `limn ${args[0]} takes one path; to draw what you wrote, put it in quotes, as in limn "${args.join(" ")}".`,
    )
  const [what, hint = "(see limn --help)"] = error.message.replace(/^error: /, "").split("\n")
  return new UsageError(`${what[0].toUpperCase()}${what.slice(1)} ${hint}.`)
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : ""
  return `${error.stack ?? error.message}${cause}`
}

await main(process.argv.slice(2))
