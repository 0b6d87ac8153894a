import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { fuse as draw } from "../recipes/fuse.ts"
import { refuseFaces } from "./faces.ts"
import type { GenerateOptions } from "./generate.ts"
import { generate } from "./generate.ts"

/** What `limn fuse` can be told. */
export interface FuseCommandOptions extends Omit<GenerateOptions, "ipScale"> {
  /** Paths of pictures: who or what is drawn, and in whose style. */
  readonly identity?: string
  readonly style?: string
  /** How much of the first, and of the second. */
  readonly ipScale?: number
  readonly styleScale?: number
}

/** Draws what one picture shows in the style of another. */
export async function fuse(words: readonly string[], options: FuseCommandOptions): Promise<void> {
  const { identity, style, ipAdapter, ipScale: identityScale, styleScale, ...rest } = options
  if (identity === undefined || style === undefined || ipAdapter === undefined)
    throw new UsageError("Fusion needs --identity, --style and an --ip-adapter (see limn fuse --help).")
  if (rest.ipImage !== undefined || rest.image !== undefined)
    throw new UsageError("Fusion looks at --identity and --style alone; leave --ip-image and --image away.")
  refuseFaces("Fusion", rest)
  await generate(words, { ...rest, ipAdapter, ipImage: [identity, style], ipCopies: 2 }, () => {
    return (model, { ipImages = [], ...drawing }) => {
      const [first, second] = ipImages as readonly Pixels[]
      return draw(model, { ...drawing, identity: first, style: second, identityScale, styleScale })
    }
  })
}
