/** FNV-1a over bytes, in 32 bits; `hash` is that of the bytes before. Tells versions apart, and holds off no one. */
export function fnv1a(bytes: Uint8Array, hash = 0x811c9dc5): number {
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}
