/** A time as people say it: 0.42 s, 3.1 s, 42 s, 2 min 5 s, 3 h 20 min. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 1) return `${seconds.toFixed(2)} s`
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  const minutes = Math.round(whole / 60)
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** A size in bytes, in powers of 1000: 512 B, 17.6 MB, 3.44 GB. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"]
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`
}

/** A whole number with commas between thousands: 859,520,964. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US")
}

/** Rows of cells as lines, columns two spaces apart; those at `right` are set to the right. */
export function formatTable(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join("  ")
  return rows.map((row) => line(row).trimEnd()).join("\n")
}
