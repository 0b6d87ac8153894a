/** Pictures of measurements, as SVG. */

const text = 'font-family="sans-serif" font-size="12" fill="#444"'
const colours = ["#1f4e9c", "#d9822b", "#3a8f5c", "#8e4fa8", "#777777", "#b03a48", "#3a9ea5"]

/** One bar: what was measured, and over its end a line from least to most. */
export interface Bar {
  readonly label: string
  readonly value: number
  readonly least: number
  readonly most: number
}

/** Bars in groups, each group on a scale of its own; bars of one label have one colour. */
export function barChart(
  title: string,
  groups: readonly { readonly title: string; readonly bars: readonly Bar[] }[],
  unit: string,
): string {
  const [left, width, row] = [170, 760, 18]
  const space = width - left - 90
  const labels = [...new Set(groups.flatMap(({ bars }) => bars.map(({ label }) => label)))]
  let y = 30
  const parts: string[] = []
  for (const group of groups) {
    parts.push(`<text x="8" y="${y + 16}" font-weight="bold">${escaped(group.title)}</text>`)
    y += 24
    const most = Math.max(...group.bars.map((bar) => bar.most))
    for (const bar of group.bars) {
      const at = (value: number) => left + (value / most) * space
      const colour = colours[labels.indexOf(bar.label) % colours.length]
      parts.push(
        `<text x="${left - 8}" y="${y + 13}" text-anchor="end">${escaped(bar.label)}</text>`,
        `<rect x="${left}" y="${y + 3}" width="${(at(bar.value) - left).toFixed(1)}" height="12" fill="${colour}"/>`,
        `<line x1="${at(bar.least).toFixed(1)}" x2="${at(bar.most).toFixed(1)}" y1="${y + 9}" y2="${y + 9}" stroke="#000" stroke-width="1.5"/>`,
        `<text x="${(at(bar.most) + 6).toFixed(1)}" y="${y + 13}">${Number(bar.value.toPrecision(3))} ${unit}</text>`,
      )
      y += row
    }
    y += 8
  }
  return svg(title, width, y + 6, parts)
}

/** One line through points; `dashed` for what was reckoned and not measured. */
export interface Line {
  readonly label: string
  readonly points: readonly (readonly [x: number, y: number])[]
  readonly dashed?: boolean
  /** Lines of one colour belong together, 0 to 4. */
  readonly colour: number
}

const ACROSS = 2

/** Panels of lines, two side by side, all scales logarithmic, a mark at each place that was measured. */
export function lineCharts(
  title: string,
  panels: readonly {
    readonly title: string
    readonly x: string
    readonly y: string
    readonly lines: readonly Line[]
  }[],
): string {
  const [panelWidth, height, margin] = [380, 320, { left: 56, right: 14, top: 54, bottom: 78 }]
  const drawn = panels.map(({ title: name, x, y, lines }, panel) => {
    const all = lines.flatMap(({ points }) => points)
    const scale = (values: readonly number[], from: number, to: number) => {
      const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))]
      return (value: number) => from + ((Math.log(value) - low) / (high - low || 1)) * (to - from)
    }
    const offset = (panel % ACROSS) * panelWidth
    const top = Math.floor(panel / ACROSS) * height
    const xs = [...new Set(all.map(([value]) => value))]
    const ys = all.map(([, value]) => value)
    const across = scale(xs, offset + margin.left, offset + panelWidth - margin.right)
    const up = scale(ys, top + height - margin.bottom, top + margin.top)
    const steps = stepsBetween(Math.min(...ys), Math.max(...ys))
    return [
      `<text x="${offset + margin.left}" y="${top + 42}" font-weight="bold">${escaped(name)}</text>`,
      ...steps.map(
        (value) =>
          `<line x1="${offset + margin.left}" x2="${offset + panelWidth - margin.right}" y1="${up(value).toFixed(1)}" y2="${up(value).toFixed(1)}" stroke="#ddd"/><text x="${offset + margin.left - 6}" y="${(up(value) + 4).toFixed(1)}" text-anchor="end">${value}</text>`,
      ),
      ...xs.map(
        (value) =>
          `<text x="${across(value).toFixed(1)}" y="${top + height - margin.bottom + 18}" text-anchor="middle">${value}</text>`,
      ),
      `<text x="${offset + panelWidth / 2}" y="${top + height - margin.bottom + 36}" text-anchor="middle">${escaped(`${y}, by ${x}`)}</text>`,
      ...lines.flatMap(({ label, points, dashed, colour: hue }, i) => {
        const colour = colours[hue]
        const places = points.map(([a, b]) => `${across(a).toFixed(1)},${up(b).toFixed(1)}`)
        return [
          `<polyline fill="none" stroke="${colour}" stroke-width="2"${dashed ? ' stroke-dasharray="5 4"' : ""} points="${places.join(" ")}"/>`,
          ...(dashed
            ? []
            : places.map((place) => {
                const [cx, cy] = place.split(",")
                return `<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`
              })),
          `<text x="${offset + margin.left + (i % 2) * 160}" y="${top + height - 22 + Math.floor(i / 2) * 15}" fill="${colour}">${dashed ? "╌" : "●"} ${escaped(label)}</text>`,
        ]
      }),
    ].join("\n")
  })
  return svg(title, ACROSS * panelWidth, Math.ceil(panels.length / ACROSS) * height + 12, drawn)
}

/** 1, 2 and 5 times the powers of ten within a range. */
function stepsBetween(low: number, high: number): number[] {
  const first = Math.floor(Math.log10(low))
  return Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, k) => 10 ** (first + k))
    .flatMap((power) => [power, 2 * power, 5 * power])
    .map((value) => Number(value.toPrecision(1)))
    .filter((value) => value >= low && value <= high)
}

function svg(title: string, width: number, height: number, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ${text}>
<title>${escaped(title)}</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="8" y="18" font-size="14">${escaped(title)}</text>
${parts.join("\n")}
</svg>
`
}

function escaped(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
}
