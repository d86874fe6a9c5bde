// Server-Sent Events as text becomes messages. Pure: no fetch, no timers.

/** A line longer than this is none of the server's: an event's frame is far below. In characters. */
export const LINE_MAX = 16 << 20;

/** Puts pieces of text together to messages. A comment is heard by whoever feeds the pieces. */
export class MessageReader {
  #rest = "";
  #data = [];
  #type = "";

  /**
   * The messages that this piece completes.
   * @param {string} piece
   * @returns {{type: string, data: string}[]}
   */
  read(piece) {
    const lines = (this.#rest + piece).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    if (this.#rest.length > LINE_MAX) throw new Error("a line of the stream is too long");
    return lines.map((line) => this.#line(line)).filter(Boolean);
  }

  /** A line changes the message under way; an empty one ends it. */
  #line(line) {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    return null;
  }

  #end() {
    const message = this.#data.length > 0 ? { type: this.#type || "message", data: this.#data.join("\n") } : null;
    this.#data = [];
    this.#type = "";
    return message;
  }
}
