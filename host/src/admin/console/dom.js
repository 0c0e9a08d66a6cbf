// Builds what the page shows.
//
// Takes tags, attributes and children, gives elements. Never takes markup: what tenants and strangers wrote becomes text
// nodes, whatever it contains.

const SVG = "http://www.w3.org/2000/svg";

/** An element of HTML. Functions among the attributes listen; `false`, `null` and `undefined` leave an attribute out. */
export function h(tag, attributes, ...children) {
  return made(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function s(tag, attributes, ...children) {
  return made(document.createElementNS(SVG, tag), attributes, children);
}

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    // The style sheet is the only place that may name a style; numbers that follow the data are set one by one.
    else if (name === "css") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

/** Adds nodes, and anything else as text. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Writes a text only where it differs, so that nothing is laid out again for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}

/** Sets an attribute only where it differs; `null` takes it away. */
export function set(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  return element;
}

/** Tells those who hear the page what they cannot see change. */
export function announce(text) {
  const region = document.getElementById("announcement");
  if (region) region.textContent = text;
}
