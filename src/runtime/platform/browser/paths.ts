/** The address that the parts lead to from the page's own, each a file or folder of the one before; without a last "/". */
export function absolutePath(...parts: readonly string[]): string {
  const page = new URL(".", globalThis.location.href).href
  return parts
    .reduce((base, part) => new URL(part, `${base.replace(/\/$/, "")}/`).href, page)
    .replace(/\/$/, "")
}
