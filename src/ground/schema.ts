import * as z from "zod"

// A schema is read once or twice in a process: to compile it takes longer, and pages may forbid `eval`.
z.config({ jitless: true })

/** Schemas of what others wrote. */
export { z }
