import { defineConfig } from "vitest/config"

const source = {
  resolve: { conditions: ["source", "node"] },
  ssr: { resolve: { conditions: ["source", "node"] } },
}

/**
 * unit: half a minute, run by `npm run check`; slow: whole pipelines and processes; full: full-size models, on request.
 * The files of unit share what they import, and ONNX Runtime's thread with it: each undoes what it changes.
 */
export default defineConfig({
  test: {
    projects: [
      {
        ...source,
        test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 30_000, isolate: false },
      },
      { ...source, test: { name: "slow", include: ["test/slow/**/*.test.ts"], testTimeout: 300_000 } },
      {
        ...source,
        test: {
          name: "full",
          include: process.env.LIMN_FULL ? ["test/full/**/*.test.ts"] : [],
          testTimeout: 3_600_000,
        },
      },
    ],
    passWithNoTests: true,
  },
})
