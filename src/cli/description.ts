/** What a path holds: text for people, and the whole of it for programs. */
export interface Description {
  readonly text: string
  readonly json: object
}
