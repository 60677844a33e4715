// Server-sent events, as the HTML standard has them, from text that comes in pieces.

const LINE_END = /\r\n|\n|\r(?!$)/g; // a CR at the very end may be half of a CRLF

export class EventParser {
  #rest = "";
  #name = "";
  #data = [];
  #lastId;
  #found = [];

  /** Resume after the event with this id, or begin if it is undefined. */
  constructor(lastId) {
    this.#lastId = lastId;
  }

  /** Return the events `{id, name, data}` that are complete with this piece. */
  feed(text) {
    const whole = this.#rest + text;
    let start = 0;
    for (const end of whole.matchAll(LINE_END)) {
      this.#line(whole.slice(start, end.index));
      start = end.index + end[0].length;
    }
    this.#rest = whole.slice(start);
    const found = this.#found;
    this.#found = [];
    return found;
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#lastId = value;
  }

  #dispatch() {
    if (this.#data.length) {
      const name = this.#name || "message";
      this.#found.push({ id: this.#lastId, name, data: this.#data.join("\n") });
    }
    this.#name = "";
    this.#data = [];
  }
}
