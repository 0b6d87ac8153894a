import { Option } from "commander"
import { UsageError } from "../ground/errors.ts"
import { parseSeed } from "../ground/random/seed.ts"
import type { GivenLora } from "./drawing.ts"

/** An option whose value is a number. Which numbers make sense is for the command to say. */
export function numberOption(flags: string, description: string): Option {
  return parsed(flags, description, numberOf)
}

/** An option that may be given several times: a list of numbers. */
export function numbersOption(flags: string, description: string): Option {
  const option = new Option(flags, description)
  return option.argParser((text, before: readonly number[] = []) => [
    ...before,
    numberOf(text, option.long ?? flags),
  ])
}

function numberOf(text: string, flag: string): number {
  const value = Number(text)
  if (text.trim() === "" || Number.isNaN(value)) throw wrong(flag, text, "give a number")
  return value
}

/** An option whose value is a seed, as a bigint. */
export function seedOption(flags: string, description: string): Option {
  return parsed(flags, description, (text, flag) => {
    if (!/^\d+$/.test(text)) throw wrong(flag, text, "give a whole number from 0 to 2^64 - 1")
    return parseSeed(BigInt(text))
  })
}

/** An option whose value is one of some words, the first by default; `what` says of what. */
export function choiceOption(flags: string, words: readonly string[], what = ""): Option {
  return parsed(flags, `${what}${words.join(", ")} (default: ${words[0]})`, (text, flag) => {
    if (!words.includes(text)) throw wrong(flag, text, `choose one of ${words.join(", ")}`)
    return text
  })
}

/** An option that may be given several times: a list of texts. */
export function listOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text, before: readonly string[] = []) => [...before, text])
}

/** An option that may be given several times: a file, and behind a colon how much of it. */
export function loraOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text: string, before: readonly GivenLora[] = []) => {
    const [, path, scale] = /^(.*?)(?::(-?(?:\d+\.?\d*|\.\d+)))?$/s.exec(text)!
    if (path === "") throw wrong("--lora", text, "give a file, as in ink.safetensors:0.8")
    return [...before, scale === undefined ? { path } : { path, scale: Number(scale) }]
  })
}

function parsed(flags: string, description: string, parse: (text: string, flag: string) => unknown): Option {
  const option = new Option(flags, description)
  return option.argParser((text) => parse(text, option.long ?? flags))
}

function wrong(flag: string, text: string, remedy: string): UsageError {
  return new UsageError(`${flag} is ${JSON.stringify(text)}; ${remedy}.`)
}
