// What is asked of a page from inside it.
//
// Gives expressions for the browser: each is a whole function in text, and its worth is plain data.

/** Texts that are too faint for WCAG 2.1 AA (1.4.3): 4.5 to 1, or 3 to 1 if they are large. */
export const FAINT = `(() => {
  const parse = (text) => {
    const numbers = text.match(/-?[\\d.]+(?:e-?\\d+)?/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    if (!/^(rgba?|color\\(srgb)/.test(text)) throw new Error("a colour that is not known: " + text);
    return { rgb: numbers.slice(0, 3).map((one) => one * scale), a: numbers[3] ?? 1 };
  };
  const over = (top, below) => top.rgb.map((one, at) => one * top.a + below[at] * (1 - top.a));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((one, two) => two - one); return (x + 0.05) / (y + 0.05); };
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const layer = parse(getComputedStyle(one).backgroundColor);
      layers.push(layer);
      if (layer.a === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility() || element.closest(".unseen, button:disabled, noscript, datalist")) continue;
    const style = getComputedStyle(element);
    const isPicture = element.namespaceURI.endsWith("svg");
    const colour = parse(isPicture ? style.fill : style.color);
    const grounds = [ground(element)];
    // Words of a picture lie on its bands.
    if (isPicture) for (const band of element.closest("svg").querySelectorAll(".band")) {
      const layer = parse(getComputedStyle(band).fill);
      grounds.push(over({ rgb: layer.rgb, a: Number(getComputedStyle(band).opacity) }, grounds[0]));
    }
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const worst = Math.min(...grounds.map((one) => ratio(over(colour, one), one)));
    seen += 1;
    if (worst < (isLarge ? 3 : 4.5)) faint.push(worst.toFixed(2) + ": " + node.textContent.trim().slice(0, 60) + " <" + element.tagName + " " + element.className + ">");
  }
  return { seen, faint };
})()`;

/** What can be reached by keys, each by a number that it keeps. */
export const MARK = `(() => {
  const all = [...document.querySelectorAll("a[href], button:not(:disabled), input, select, textarea, summary, [tabindex='0'], .hour, .scroll")].filter((one) => one.checkVisibility() && !one.closest(".grid-body"));
  all.forEach((one, at) => (one.dataset.reach = at));
  return all.length;
})()`;

/** Where the focus is: the number, whether it can be seen, and what it is called. */
export const FOCUS = `(() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const name = one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.[0]?.textContent || one.getAttribute("placeholder") || "";
  return { at: one.dataset.reach ?? null, isBody: one === document.body, isSeen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, inTable: !!one.closest(".grid-body"), name: name.slice(0, 80), tag: one.tagName };
})()`;

/** Parts of the page that are wider than it. */
export const WIDE = `(() => {
  const width = document.documentElement.clientWidth;
  const isCut = (one) => { for (let up = one.parentElement; up; up = up.parentElement) if (getComputedStyle(up).overflowX !== "visible") return true; return false; };
  const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > width + 1 && one.checkVisibility() && !one.closest(".unseen") && !isCut(one));
  return { scroll: document.documentElement.scrollWidth, width, wide: wide.slice(0, 5).map((one) => one.tagName + "." + one.className) };
})()`;

/** What is drawn of the flow outside of its picture. */
export const OUTSIDE = `(() => {
  const box = document.querySelector("svg.flow").getBoundingClientRect();
  const isOut = ({ left, right, top, bottom, width }) => width > 0 && (left < box.left - 1 || right > box.right + 1 || top < box.top - 1 || bottom > box.bottom + 1);
  const all = [...document.querySelectorAll("svg.flow path, svg.flow rect, svg.flow text")];
  return { all: all.length, outside: all.filter((one) => isOut(one.getBoundingClientRect())).map((one) => one.tagName + " " + one.textContent) };
})()`;

/** Frames that took long, from now on: `stop()` gives the longest, in milliseconds. */
export const WATCH = `(() => {
  window.frames_ = [];
  window.watch_?.disconnect();
  window.watch_ = new PerformanceObserver((list) => window.frames_.push(...list.getEntries().map((one) => one.duration)));
  window.watch_.observe({ type: "long-animation-frame" });
})()`;
export const LONGEST = "Math.max(0, ...window.frames_, ...window.watch_.takeRecords().map((one) => one.duration))";
