import { FormatError } from "../ground/errors.ts"
import type { ByteSource } from "./byte-source.ts"
import type { PickleCursor } from "./pickle-cursor.ts"
import { pickleCursor } from "./pickle-cursor.ts"

/**
 * What a pickle describes, as plain data. Lists, tuples and sets are arrays, integers beyond 2^53 bigints, and dicts
 * (with their ordered kind) maps, so that no key such as `__proto__` means anything to JavaScript. Values may contain
 * themselves.
 */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleGlobal
  | PickleObject
  | PicklePersistent

/** A class or function by its name, such as "torch._utils._rebuild_tensor_v2". Only the name is known. */
export interface PickleGlobal {
  readonly kind: "global"
  readonly name: string
}

/** What a call of a class or function would have made. Nothing was called. */
export interface PickleObject {
  readonly kind: "object"
  /** Of what would have been called. */
  readonly name: string
  readonly args: readonly PickleValue[]
  /** Its attributes, where the pickle sets them. */
  state?: PickleValue
  /** Items, where it is a kind of dict; those of a kind of list or set are their own keys. */
  entries?: Map<PickleValue, PickleValue>
}

/** Something that is kept outside the pickle: for PyTorch, a storage. */
export interface PicklePersistent {
  readonly kind: "persistent"
  readonly id: PickleValue
}

/** A pickle that has been read. */
export interface Pickle {
  readonly value: PickleValue
  /** All that is kept outside, in the order of the file. */
  readonly persistent: readonly PicklePersistent[]
  /** Where the pickle ends, in bytes of the source. */
  readonly end: number
}

// Bounds far above any checkpoint's needs, which are about 30 instructions and 5 containers for each tensor. They keep
// the memory that a small hostile file can fill to a few hundred megabytes.
const MAX_BYTES = 2 ** 26
const MAX_INSTRUCTIONS = 2 ** 23
const MAX_CONTAINERS = 2 ** 20
const MAX_PROTOCOL = 5

/** The machine that a pickle is a program for. */
interface Machine {
  readonly bytes: PickleCursor
  push(value: PickleValue): void
  pop(): PickleValue
  /** The value on top, which stays. */
  top(): PickleValue
  /** Remembers how high the stack is. */
  mark(): void
  /** All values above the last mark, and forgets the mark. */
  popToMark(): PickleValue[]
  store(index: number): void
  recall(index: number): void
  readonly remembered: number
  persist(id: PickleValue): void
  /** A container just made; they are counted. */
  made<T>(container: T): T
  damaged(what: string): FormatError
}

/**
 * Reads one pickle of protocol 2 to 5 from `start` on, as far as `end`. It is a program for a small machine, and this
 * machine has no instruction that runs or imports anything: classes and functions stay names, calls stay undone. It
 * neither recurses nor loops, and reads each byte about once.
 * Throws a FormatError for anything that Python's pickler does not write.
 */
export function readPickle(source: ByteSource, start = 0, end = source.size): Pickle {
  const bytes = pickleCursor(source, start, Math.min(end, start + MAX_BYTES))
  const stack: PickleValue[] = []
  const marks: number[] = []
  const memo = new Map<number, PickleValue>()
  const persistent: PicklePersistent[] = []
  let containers = 0

  const damaged = (what: string) => new FormatError(`The pickle in ${source.name} ${what}: fetch it again.`)
  const needValue = () => {
    if (stack.length <= (marks.at(-1) ?? 0)) throw damaged("takes a value that is not there")
  }
  const machine: Machine = {
    bytes,
    push: (value) => void stack.push(value),
    pop() {
      needValue()
      return stack.pop()!
    },
    top() {
      needValue()
      return stack.at(-1)!
    },
    mark: () => void marks.push(stack.length),
    popToMark() {
      const mark = marks.pop()
      if (mark === undefined) throw damaged("takes a mark that is not there")
      return machine.made(stack.splice(mark))
    },
    store: (index) => void memo.set(index, machine.top()),
    recall(index) {
      const value = memo.get(index)
      if (value === undefined) throw damaged("recalls a value that it has not stored")
      stack.push(value)
    },
    get remembered() {
      return memo.size
    },
    persist(id) {
      const value: PicklePersistent = { kind: "persistent", id }
      persistent.push(machine.made(value))
      stack.push(value)
    },
    made(container) {
      if (++containers > MAX_CONTAINERS) throw damaged("has more parts than any checkpoint")
      return container
    },
    damaged,
  }

  if (bytes.uint8() !== PROTO) throw damaged("does not begin as one")
  const protocol = bytes.uint8()
  if (protocol < 2 || protocol > MAX_PROTOCOL)
    throw new FormatError(
      `The pickle in ${source.name} has protocol ${protocol}, and limn reads 2 to ${MAX_PROTOCOL}: save it again with torch.save.`,
    )
  for (let count = 0; count < MAX_INSTRUCTIONS; count++) {
    const code = bytes.uint8()
    if (code === STOP) return { value: machine.pop(), persistent, end: bytes.at }
    const instruction = instructions[code]
    if (instruction === undefined)
      throw damaged(`has the instruction ${code}, which torch.save does not write`)
    instruction(machine)
  }
  throw damaged("has more instructions than any checkpoint")
}

const PROTO = 0x80
const STOP = 0x2e

type Instruction = (machine: Machine) => void

/** Python's names of the instructions are those of its `pickletools`. */
const instructions: Readonly<Record<number, Instruction>> = {
  78: (m) => m.push(null), // NONE
  136: (m) => m.push(true), // NEWTRUE
  137: (m) => m.push(false), // NEWFALSE
  74: (m) => m.push(m.bytes.int32()), // BININT
  75: (m) => m.push(m.bytes.uint8()), // BININT1
  77: (m) => m.push(m.bytes.uint16()), // BININT2
  138: (m) => m.push(long(m.bytes.take(m.bytes.uint8()))), // LONG1
  71: (m) => m.push(m.bytes.float64()), // BINFLOAT

  88: (m) => m.push(m.bytes.text(m.bytes.uint32())), // BINUNICODE
  140: (m) => m.push(m.bytes.text(m.bytes.uint8())), // SHORT_BINUNICODE
  141: (m) => m.push(m.bytes.text(m.bytes.uint64())), // BINUNICODE8
  84: (m) => m.push(m.bytes.text(m.bytes.uint32())), // BINSTRING, of Python 2
  85: (m) => m.push(m.bytes.text(m.bytes.uint8())), // SHORT_BINSTRING, of Python 2
  66: (m) => m.push(new Uint8Array(m.bytes.take(m.bytes.uint32()))), // BINBYTES
  67: (m) => m.push(new Uint8Array(m.bytes.take(m.bytes.uint8()))), // SHORT_BINBYTES
  142: (m) => m.push(new Uint8Array(m.bytes.take(m.bytes.uint64()))), // BINBYTES8
  150: (m) => m.push(new Uint8Array(m.bytes.take(m.bytes.uint64()))), // BYTEARRAY8

  40: (m) => m.mark(), // MARK
  41: (m) => m.push(m.made([])), // EMPTY_TUPLE
  133: (m) => m.push(m.made([m.pop()])), // TUPLE1
  134: (m) => m.push(m.made(popped(m, 2))), // TUPLE2
  135: (m) => m.push(m.made(popped(m, 3))), // TUPLE3
  116: (m) => m.push(m.popToMark()), // TUPLE
  93: (m) => m.push(m.made([])), // EMPTY_LIST
  125: (m) => m.push(m.made(new Map())), // EMPTY_DICT
  143: (m) => m.push(m.made([])), // EMPTY_SET
  145: (m) => m.push(m.popToMark()), // FROZENSET
  97: (m) => append(m, [m.pop()]), // APPEND
  101: (m) => append(m, m.popToMark()), // APPENDS
  144: (m) => append(m, m.popToMark()), // ADDITEMS
  115: (m) => setItems(m, popped(m, 2)), // SETITEM
  117: (m) => setItems(m, m.popToMark()), // SETITEMS

  48: (m) => void m.pop(), // POP
  49: (m) => void m.popToMark(), // POP_MARK
  50: (m) => m.push(m.top()), // DUP
  113: (m) => m.store(m.bytes.uint8()), // BINPUT
  114: (m) => m.store(m.bytes.uint32()), // LONG_BINPUT
  148: (m) => m.store(m.remembered), // MEMOIZE
  104: (m) => m.recall(m.bytes.uint8()), // BINGET
  106: (m) => m.recall(m.bytes.uint32()), // LONG_BINGET
  149: (m) => void m.bytes.uint64(), // FRAME: only a hint of how much to read at once

  99: (m) => pushGlobal(m, [m.bytes.line(), m.bytes.line()]), // GLOBAL
  147: (m) => pushGlobal(m, popped(m, 2)), // STACK_GLOBAL
  82: (m) => call(m, popped(m, 2)), // REDUCE
  129: (m) => call(m, popped(m, 2)), // NEWOBJ
  // NEWOBJ_EX: names of arguments are of no use here.
  146: (m) => call(m, popped(m, 3).slice(0, 2)),
  98: (m) => setState(m, m.pop()), // BUILD
  81: (m) => m.persist(m.pop()), // BINPERSID
}

/** The topmost values, in the order in which they were pushed. */
function popped(m: Machine, count: number): PickleValue[] {
  return Array.from({ length: count }, () => m.pop()).reverse()
}

/** An integer in two's complement, little-endian, of up to 255 bytes. */
function long(bytes: Uint8Array): number | bigint {
  const value = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
  const signed = BigInt.asIntN(8 * bytes.length, value)
  return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed
}

function append(m: Machine, items: readonly PickleValue[]): void {
  const list = m.top()
  if (Array.isArray(list)) for (const item of items) list.push(item)
  else for (const item of items) entriesOf(m, list).set(item, item)
}

function setItems(m: Machine, items: readonly PickleValue[]): void {
  if (items.length % 2 !== 0) throw m.damaged("sets a key without a value")
  const entries = entriesOf(m, m.top())
  for (let i = 0; i < items.length; i += 2) entries.set(items[i], items[i + 1])
}

function entriesOf(m: Machine, value: PickleValue): Map<PickleValue, PickleValue> {
  if (value instanceof Map) return value
  if (!isObject(value)) throw m.damaged("puts items into what holds none")
  value.entries ??= m.made(new Map())
  return value.entries
}

function pushGlobal(m: Machine, [module, name]: readonly PickleValue[]): void {
  if (typeof module !== "string" || typeof name !== "string")
    throw m.damaged("names a class by something else than text")
  m.push(m.made({ kind: "global", name: `${module}.${name}` }))
}

function call(m: Machine, [callee, args]: readonly PickleValue[]): void {
  if (!Array.isArray(args) || !(isGlobal(callee) || isObject(callee)))
    throw m.damaged("calls what cannot be called")
  if (callee.name === "collections.OrderedDict") m.push(m.made(orderedDict(m, args)))
  else m.push(m.made({ kind: "object", name: callee.name, args }))
}

/** Python 2 gives the items at once, as a list of pairs. */
function orderedDict(m: Machine, [items = []]: readonly PickleValue[]): Map<PickleValue, PickleValue> {
  const dict = new Map<PickleValue, PickleValue>()
  for (const pair of Array.isArray(items) ? items : []) {
    if (!Array.isArray(pair) || pair.length !== 2) throw m.damaged("makes a dict of what are no pairs")
    dict.set(pair[0], pair[1])
  }
  return dict
}

/** Dicts can have attributes too, as PyTorch's state dicts have their versions; those have no use here. */
function setState(m: Machine, state: PickleValue): void {
  const value = m.top()
  if (isObject(value)) value.state = state
}

/** Whether a value is one that a call would have made. */
export function isObject(value: PickleValue | undefined): value is PickleObject {
  return hasKind(value) && value.kind === "object"
}

/** Whether a value is the name of a class or function. */
export function isGlobal(value: PickleValue | undefined): value is PickleGlobal {
  return hasKind(value) && value.kind === "global"
}

/** Whether a value is kept outside the pickle. */
export function isPersistent(value: PickleValue | undefined): value is PicklePersistent {
  return hasKind(value) && value.kind === "persistent"
}

function hasKind(value: PickleValue | undefined): value is PickleGlobal | PickleObject | PicklePersistent {
  return typeof value === "object" && value !== null && "kind" in value
}
