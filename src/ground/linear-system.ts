/** The solution of a small system of linear equations, by elimination with the largest pivots: matrix x = values. */
export function solve(matrix: readonly (readonly number[])[], values: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, values[i]])
  for (let column = 0; column < rows.length; column++) {
    const left = rows.slice(column)
    const pivot = left.reduce((best, row) => (Math.abs(row[column]) > Math.abs(best[column]) ? row : best))
    rows.splice(rows.indexOf(pivot), 1)
    rows.splice(column, 0, pivot)
    for (const row of rows) {
      if (row === pivot) continue
      const factor = row[column] / pivot[column]
      for (let i = column; i < row.length; i++) row[i] -= factor * pivot[i]
    }
  }
  return rows.map((row, i) => row[rows.length] / row[i])
}
