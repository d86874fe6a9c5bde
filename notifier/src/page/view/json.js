// An event's JSON for a reader. Pure. It is laid out as it was written, token by token: numbers keep all their digits,
// and a text that is no JSON stays what it is.

/** Longer texts are cut where they are shown; the copy has all of it. In characters. */
export const STRING_MAX = 2_000;

/** In all; a longer one is cut at its end. */
export const SHOWN_MAX = 200_000;

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs;

/** Line by line with indents. */
export function pretty(json) {
  const out = [];
  let [depth, length] = [0, 0];
  const put = (part) => {
    out.push(part);
    length += part.length;
  };
  const line = () => put(`\n${"  ".repeat(depth)}`);
  let before = "";
  for (const [token] of json.matchAll(TOKEN)) {
    if (length > SHOWN_MAX) {
      put("\n… (cut here; copy has all of it)");
      break;
    }
    const closes = token === "}" || token === "]";
    if (closes) depth = Math.max(0, depth - 1);
    const opened = before === "{" || before === "[";
    if (closes ? !opened : opened || before === ",") line();
    put(token === ":" ? ": " : shortened(token));
    if (token === "{" || token === "[") depth += 1;
    before = token;
  }
  return out.join("");
}

function shortened(token) {
  if (token.length <= STRING_MAX + 2) return token;
  const left = token.length - 2 - STRING_MAX;
  return `${token.slice(0, STRING_MAX + 1).toWellFormed()}…" (${left.toLocaleString()} more characters)`;
}

/**
 * The texts of the objects in the array of this name, in an object's JSON. The array's own parser says whether it is
 * JSON at all; this one only finds where each element begins and ends.
 */
export function elementsOf(json, name) {
  const elements = [];
  let [depth, start, wanted, before] = [0, 0, false, ""];
  for (const { 0: token, index } of json.matchAll(TOKEN)) {
    if (token === "[" && depth === 1) wanted = before === `"${name}"`;
    if (token === "{" || token === "[") {
      depth += 1;
      if (wanted && depth === 3) start = index;
    } else if (token === "}" || token === "]") {
      if (wanted && depth === 3) elements.push(json.slice(start, index + 1));
      depth -= 1;
      if (depth === 1) wanted = false;
    } else if (token !== ":") {
      before = token;
    }
  }
  return elements;
}
