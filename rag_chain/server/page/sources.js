// The panel that shows a source with the passage behind a citation.

import { byId, el, icon } from "./dom.js";

const NARROW = matchMedia("(max-width: 60rem)");
const VERDICTS = {
  verbatim: ["quote", "Verbatim", "The sentence stands in this source, word for word."],
  supported: ["check", "Supported", "A passage of this source says the same."],
  unsupported: ["warn", "Unsupported", "No passage of this source was found to say this."],
};

export const nameOf = (source) => source.title || source.source;
export const describe = (source) => (source.title && source.title !== source.source ? source.source : "");
export const place = (source) =>
  [source.heading.split(" > ").join(" › "), source.page ? `page ${source.page}` : ""].filter(Boolean).join(", ");

/** Build the panel; returns the function that opens it for `citation`, or for all `citations` of a source. */
export function buildPanel() {
  const panel = byId("source");
  let opener = null;

  function open({ source, citation, citations, opener: from }) {
    opener = from;
    byId("source-number").textContent = `Source ${source.number}`;
    byId("source-title").textContent = nameOf(source);
    byId("source-facts").replaceChildren(...listFacts(source, citation));
    byId("source-text").replaceChildren(...highlight(source, citation ? [citation] : (citations ?? [])));
    if (!panel.open) NARROW.matches ? panel.showModal() : panel.show();
    byId("source-title").focus({ preventScroll: true });
    const mark = panel.querySelector("mark");
    byId("source-text").scrollTop = 0;
    mark?.scrollIntoView({ block: "center" });
  }

  panel.addEventListener("close", () => {
    (opener?.isConnected ? opener : byId("question")).focus();
    opener = null;
  });
  byId("source-close").addEventListener("click", () => panel.close());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !panel.open) return;
    event.preventDefault();
    panel.close();
  });
  return { open, close: () => panel.open && panel.close() };
}

function* listFacts(source, citation) {
  const fact = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
  yield fact("Document", source.source);
  if (source.heading) yield fact("Section", source.heading.split(" > ").join(" › "));
  if (source.page) yield fact("Page", String(source.page));
  if (citation) {
    const [sign, name, meaning] = VERDICTS[citation.verdict];
    const badge = el("span", { className: `verdict ${citation.verdict}` }, icon(sign), name);
    yield fact("Citation", badge, ` ${meaning}`);
  }
  if (source.cut) yield fact("Note", "Only its first sentences were read: there was no room for more.");
}

/** Yield a source's text with the cited passages marked; they are offsets in the document, in characters. */
function* highlight(source, citations) {
  const characters = [...source.text];
  const slice = (start, end) => characters.slice(start, end).join("");
  const spans = citations
    .filter(({ quote }) => quote)
    .map(({ start, end, quote }) => ({ start: start - source.start, end: end - source.start, quote }))
    .filter(({ start, end, quote }) => slice(start, end) === quote)
    .sort((one, other) => one.start - other.start);
  let at = 0;
  for (const { start, end } of spans) {
    if (end <= at) continue;
    yield slice(at, Math.max(at, start));
    yield el("mark", {}, slice(Math.max(at, start), end));
    at = end;
  }
  yield slice(at);
}
