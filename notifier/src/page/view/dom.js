// Elements from data. Everything becomes text or an attribute, never markup.

/** One of the page's own elements. */
export const $ = (selector, from = document) => from.querySelector(selector);

/**
 * A new element. `props` are properties, but `data` for data attributes and `on` for listeners; children are
 * elements and texts, and what is null or false is left out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  const { data = {}, on = {}, ...properties } = props;
  Object.assign(element, properties);
  for (const [name, value] of Object.entries(data)) if (value !== null && value !== undefined) element.dataset[name] = value;
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

/** Writes only what changed: screen readers speak each change, and layout is work. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Gives an element these children, and leaves alone what is so already: the reader may have selected or focused it. */
export function renew(element, children) {
  const known = [...element.childNodes];
  children.forEach((child, at) => {
    const old = known[at];
    if (!old) element.append(child);
    else if (old.isEqualNode(child)) return;
    else if (child.hasChildNodes() && old.cloneNode().isEqualNode(child.cloneNode())) renew(old, [...child.childNodes]);
    else old.replaceWith(child);
  });
  for (const old of known.slice(children.length)) old.remove();
}

/** Copies; where the page came unencrypted from another machine, browsers have the old way only. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { value: text, className: "spoken" });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("the browser does not let this page copy");
}

/** Gives a file to the reader. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
