import type { TrainingStep } from "./trainer.ts"

/** One optimizer step and the seconds of training that led to it, over all resumptions. */
export interface LossRow extends TrainingStep {
  readonly seconds: number
}

const width = 720
const height = 360
const margin = { left: 64, right: 16, top: 24, bottom: 40 }

/** The losses as an SVG picture: every step pale, their running mean dark, on a logarithmic scale. */
export function lossChart(rows: readonly LossRow[]): string {
  const valid = rows.filter((row) => row.loss > 0)
  const lastStep = Math.max(1, ...valid.slice(-1).map((row) => row.step))
  const sorted = valid.map((row) => row.loss).sort((a, b) => a - b)
  const low = Math.log10(sorted[0] ?? 0.1)
  // A first step can be a hundred times the rest; the scale leaves out the highest hundredth.
  const high = Math.max(low + 0.05, Math.log10(sorted[Math.floor(sorted.length * 0.99)] ?? 1))
  const x = (step: number) => margin.left + (step / lastStep) * (width - margin.left - margin.right)
  const y = (loss: number) => {
    const share = Math.min(1, (Math.log10(loss) - low) / (high - low))
    return height - margin.bottom - share * (height - margin.top - margin.bottom)
  }
  const line = (points: readonly { step: number; loss: number }[]) =>
    points.map((point) => `${x(point.step).toFixed(1)},${y(point.loss).toFixed(1)}`).join(" ")

  const ticks = [0, 0.25, 0.5, 0.75, 1]
  const vertical = ticks.map((share) => {
    const loss = 10 ** (low + share * (high - low))
    const at = y(loss).toFixed(1)
    return `<line x1="${margin.left}" x2="${width - margin.right}" y1="${at}" y2="${at}" stroke="#ddd"/><text x="${margin.left - 8}" y="${at}" text-anchor="end" dominant-baseline="middle">${loss.toPrecision(2)}</text>`
  })
  const horizontal = ticks.map((share) => {
    const step = Math.round(share * lastStep)
    return `<text x="${x(step).toFixed(1)}" y="${height - margin.bottom + 18}" text-anchor="middle">${step}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#555">
<rect width="100%" height="100%" fill="#fff"/>
${[...vertical, ...horizontal].join("\n")}
<text x="${width / 2}" y="${height - 6}" text-anchor="middle">step</text>
<text x="${margin.left}" y="14">loss (logarithmic): every step pale, running mean dark</text>
<polyline fill="none" stroke="#b8cdf0" stroke-width="1" points="${line(thinned(valid, 1500))}"/>
<polyline fill="none" stroke="#1f4e9c" stroke-width="2" points="${line(thinned(runningMean(valid), 400))}"/>
</svg>
`
}

/** Every row's mean with the rows before it, over about a fiftieth of the run. */
function runningMean(rows: readonly LossRow[]): { step: number; loss: number }[] {
  const span = Math.max(1, Math.floor(rows.length / 50))
  let sum = 0
  return rows.map((row, i) => {
    sum += row.loss - (i >= span ? rows[i - span].loss : 0)
    return { step: row.step, loss: sum / Math.min(i + 1, span) }
  })
}

function thinned<T>(rows: readonly T[], most: number): T[] {
  const every = Math.max(1, Math.ceil(rows.length / most))
  return rows.filter((_, i) => i % every === 0 || i === rows.length - 1)
}
