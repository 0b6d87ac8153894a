import { train } from "../../../src/training/train.ts"

/** Trains as the file of its first argument says, and prints every step as it is done. */

const { step, resumedAt } = await train(process.argv[2], { onStep: (row) => console.log(`step ${row.step}`) })
console.log(`done ${step} from ${resumedAt}`)
