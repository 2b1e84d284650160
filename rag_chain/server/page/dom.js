// The only place that makes elements: text stays text, whatever it says.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Make an element; properties are set as such, those of `aria` and `data` as attributes. */
export function el(tag, { aria = {}, data = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  Object.assign(made.dataset, data);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Make one of the icons that index.html defines. */
export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  made.append(use);
  return made;
}

/** Say something to screen readers that stands elsewhere on the page already. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Return a function that runs `work` at most once in an animation frame. */
export function perFrame(work) {
  let waiting = 0;
  const run = () => {
    waiting = 0;
    work();
  };
  const ask = () => {
    waiting ||= requestAnimationFrame(run);
  };
  ask.now = () => {
    cancelAnimationFrame(waiting);
    run();
  };
  return ask;
}
